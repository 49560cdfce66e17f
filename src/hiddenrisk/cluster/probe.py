"""What a node has, told by code that needs nothing of ours there.

Ray sends this module to the nodes as it is (`register_pickle_by_value`): what a node without
the package would say of anything else is an import error of Ray's own.
"""


def probe() -> dict[str, str]:
    """The node's address, its Python, and its hiddenrisk; "" for none."""
    import importlib  # noqa: PLC0415 - this runs on another machine
    import importlib.metadata  # noqa: PLC0415 - as above
    import platform  # noqa: PLC0415 - as above
    from typing import Any  # noqa: PLC0415 - as above

    ray: Any = importlib.import_module("ray")
    try:
        version = importlib.metadata.version("hiddenrisk")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    return {
        "node": ray.util.get_node_ip_address(),
        "python": platform.python_version(),
        "hiddenrisk": version,
    }
