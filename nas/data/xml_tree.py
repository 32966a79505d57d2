"""XML from files, bounded: no document types, so no entities, which could grow without end or name other files."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

MAX_BYTES = 2**24
MAX_DEPTH = 32


def read_xml(path: Path) -> Element:
    """The root of an XML file. Raises ValueError naming a file that is none, is too large, nests too deeply, or has a DOCTYPE."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"{path}: {size / 1e6:,.0f} MB of XML; files of up to {MAX_BYTES / 1e6:,.0f} MB are read")
        return _parsed(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except expat.ExpatError as error:
        raise ValueError(f"{path}: line {error.lineno}: not XML: {expat.ErrorString(error.code)}") from None
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None


class _Refused(Exception):
    pass


def _parsed(content: bytes) -> Element:
    builder, parser, depth = TreeBuilder(), expat.ParserCreate(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise _Refused("nested too deeply")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def doctype(*_: object) -> None:
        raise _Refused("has a DOCTYPE, which is not read")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(content, True)
    except (LookupError, ValueError) as error:  # an encoding that Python does not know, or that takes several bytes
        raise _Refused(f"not XML: {error}") from None
    return builder.close()
