"""Models of numbers: rows of features in, predictions out. Numpy alone; scikit-learn where trees are grown."""
