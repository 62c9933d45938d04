"""An extension of Griffe, which reads the docstrings for the site: of a row for several parameters, ``a, b : int``,
each has the type and default that the function says, where Griffe gives all of them those of the first."""
import griffe


class OwnTypes(griffe.Extension):
    """After a package is read."""

    def on_package(self, *, pkg, **kwargs):
        _walk(pkg)


def _walk(of):
    for member in of.members.values():
        if member.is_alias or not (member.is_class or member.is_function or member.is_module):
            continue
        if not member.is_function:
            _walk(member)
        if member.docstring and not member.is_module:
            known = {parameter.name: parameter for parameter in member.parameters}
            for section in member.docstring.parsed:
                if section.kind is griffe.DocstringSectionKind.parameters:
                    for described in section.value:
                        own = known.get(described.name.lstrip('*'))
                        if own is not None and own.annotation is not None:
                            described.annotation, described.value = own.annotation, own.default
