# pyright: reportUnusedExpression=false
# %% [markdown]
# # A search in a notebook
#
# Open this file in VS Code, PyCharm or Spyder, or in Jupyter with Jupytext: a cell begins at each `# %%`. `TOY = True`
# makes everything small, to see that it works.
#
# Cost: 24 short trainings on scikit-learn's digits, about 3 minutes on one core, and a minute for the last training. As a
# toy: about 15 seconds.
# Expect: a front of some seven networks, the most accurate one with 98.6 % of the validation images at 38,000 parameters.
#
# Stop a cell with the stop button: running it again resumes.

# %%
import sys

import nas

TOY = "--toy" in sys.argv

# %% [markdown]
# `progress=True` shows a bar with the time left. The run stays in its folder: after a restart of the kernel the same cell
# reads it.

# %%
result = nas.search(
    "tiny",
    {"train_size": 200} if TOY else "digits",
    objectives={"accuracy": "max", "params": "min"},
    device=[],
    recipe={"name": "quick", "epochs": 1} if TOY else "proxy",
    executor="local",
    trials=2 if TOY else 24,
    run="runs/notebook",
    progress=True,
)

# %% [markdown]
# The front as a picture and a table:

# %%
result

# %% [markdown]
# Every trial, with a column for each choice of the space; `result.to_pandas()` makes a data frame of it.

# %%
result.trials

# %% [markdown]
# A member of the front, and where its multiply-adds are:

# %%
member = result.front[0]
print(
    f"{member.id}: accuracy {member.metrics['accuracy']:.3f}, {member.params:,} parameters, {member.macs:,} multiply-adds"
)
member.arch

# %% [markdown]
# The network that you want to use gets the full recipe.

# %%
net = nas.train(
    member.arch,
    {"train_size": 200} if TOY else "digits",
    recipe={"name": "quick", "epochs": 1} if TOY else None,
    run="runs/notebook-net",
    progress=True,
)
net.test

# %%
net.curve
