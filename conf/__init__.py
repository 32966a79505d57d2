"""Configuration of the `nas` commands. Hydra finds it in an installed package only when the folder is a package too."""
