"""Run as a script by `nas.convert.tflite`: MLIR bytecode of StableHLO on standard input, a .tflite file on standard output."""

import ctypes
import os
import signal
import sys
from importlib import import_module

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Has the system kill this process when the one that started it ends, however that is; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            os._exit(1)


def main() -> None:
    end_with_parent(int(sys.argv[1]))
    # The converter's C++ prints to file descriptor 1 as it pleases; only the file may stand there.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    converter_api_ext = import_module("litert_converter.converter_api_ext")
    ir, passmanager = (import_module(f"litert_converter.mlir.{name}") for name in ("ir", "passmanager"))

    context = ir.Context()
    converter_api_ext.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(sys.stdin.buffer.read())
        converter_api_ext.set_signature(module.operation, "serving_default", ["images"], sys.argv[2:])
        converter_api_ext.run_convert_to_tfl_passes(
            module, passmanager.PassManager(), converter_api_ext.ConvertToTFLConfig()
        )
        out.write(converter_api_ext.export_flatbuffer_to_bytes(module.operation))
    out.close()


if __name__ == "__main__":
    main()
