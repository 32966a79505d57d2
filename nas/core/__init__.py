"""Ground that every layer stands on: settings, YAML, paths, plugins, versions, the process."""
