"""Devices that networks are measured on: runtimes on this machine (`host`, `litert`, `onnxruntime`), files, and other machines."""
