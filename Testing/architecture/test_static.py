"""Promises that the sources keep without being run: panels, the process wall, translatable texts."""

import ast
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("SAM2Adapt", "SAM2AdaptTraining")
ENGINE = REPOSITORY / "SAM2Adapt" / "sam2adapt"
LIBRARY = REPOSITORY / "SAM2Adapt" / "SAM2AdaptLib"
SLICER_PACKAGES = {"slicer", "vtk", "qt", "ctk"}
SLICER_SIDE_PACKAGES = SLICER_PACKAGES | {"numpy", "SAM2AdaptLib"}
# Parts of the engine that need only the standard library, so that Slicer's process may use them (checked below).
ENGINE_PARTS_FOR_SLICER = {"sam2adapt.shared.errors", "sam2adapt.shared.files", "sam2adapt.shared.manifest_table"}
# Those that need numpy as well.
NUMPY_PARTS_FOR_SLICER = {"sam2adapt.shared.modality", "sam2adapt.shared.label_runs"}
TEXT_PROPERTIES = {
    "text",
    "toolTip",
    "title",
    "plainText",
    "placeholderText",
    "windowTitle",
    "noneDisplay",
    "statusTip",
}
TEXT_SETTERS = {"set" + name[0].upper() + name[1:] for name in TEXT_PROPERTIES}
TEXT_FUNCTIONS = {"errorDisplay", "warningDisplay", "infoDisplay", "confirmOkCancelDisplay", "confirmYesNoDisplay"}
TEXT_FUNCTIONS |= {"tryWithErrorDisplay", "messageBox", "showStatusMessage"}
PARENT_TEXTS = {"helpText", "acknowledgementText", "title"}


def slicerSideFiles():
    return [REPOSITORY / module / f"{module}.py" for module in MODULES] + sorted(LIBRARY.rglob("*.py"))


def relative(path):
    return path.relative_to(REPOSITORY).as_posix()


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def importedNames(nodes):
    """Dotted names that import statements among the nodes bring in; relative imports stay inside their package."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def fileScope(tree):
    """Nodes that run at import time: everything outside functions."""
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("path", slicerSideFiles(), ids=relative)
def test_slicer_side_imports_at_file_scope(path):
    for name in importedNames(fileScope(parse(path))):
        package = name.partition(".")[0]
        allowed = (
            package in sys.stdlib_module_names | SLICER_SIDE_PACKAGES
            or name in ENGINE_PARTS_FOR_SLICER | NUMPY_PARTS_FOR_SLICER
        )
        assert allowed, f"{relative(path)} imports {name} at file scope"


@pytest.mark.parametrize("path", slicerSideFiles(), ids=relative)
def test_slicer_side_never_imports_torch(path):
    packages = {name.partition(".")[0] for name in importedNames(ast.walk(parse(path)))}
    assert not packages & {"torch", "torchvision", "sam2", "monai"}


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=relative)
def test_engine_never_imports_slicer(path):
    packages = {name.partition(".")[0] for name in importedNames(ast.walk(parse(path)))}
    assert not packages & (SLICER_PACKAGES | {"SAM2AdaptLib", "Qt"})


@pytest.mark.parametrize("name", sorted(ENGINE_PARTS_FOR_SLICER))
def test_engine_parts_for_slicer_need_the_standard_library_only(name):
    code = (
        f"import sys; sys.path.insert(0, {str(ENGINE.parent)!r}); before = set(sys.modules); import {name}\n"
        "print(*{n.partition('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    output = subprocess.check_output([sys.executable, "-I", "-c", code], encoding="utf-8")
    assert output.split() == ["sam2adapt"]


def panel(module):
    return ET.parse(REPOSITORY / module / "Resources" / "UI" / f"{module}.ui").getroot()


def classNamed(tree, name):
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def parameters(module):
    node = classNamed(parse(REPOSITORY / module / f"{module}.py"), f"{module}ParameterNode")
    return {field.target.id for field in node.body if isinstance(field, ast.AnnAssign)}


def connectedInCode(module):
    """Parameters that the widget hands to ``connectParametersToGui`` with a connector of its own."""
    widget = classNamed(parse(REPOSITORY / module / f"{module}.py"), f"{module}Widget")
    for node in ast.walk(widget):
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["connectors"]:
            yield from (key.value for key in node.value.keys)


#: Rows of the tables of cases and structures, and what another module hands over: no widget shows one of these alone.
IN_TABLES = {
    "SAM2Adapt": set(),
    "SAM2AdaptTraining": {"exampleSegmentation", "caseFolders", "fileUses", "skippedClasses"},
}


@pytest.mark.parametrize("module", MODULES)
def test_panel_binds_to_parameters_that_exist_and_to_all_of_them(module):
    bound = [p.findtext("string") for p in panel(module).iter("property") if p.get("name") == "SlicerParameterName"]
    assert sorted([*bound, *connectedInCode(module)]) == sorted(parameters(module) - IN_TABLES[module])
    assert parameters(module) >= IN_TABLES[module]
    properties = [p for p in panel(module).iter("property") if p.get("name") == "SlicerParameterName"]
    assert all(p.get("stdset") == "0" for p in properties)


@pytest.mark.parametrize("module", MODULES)
def test_scene_reaches_every_mrml_widget(module):
    root = panel(module)
    top = root.find("widget")
    assert top.get("class") == "qMRMLWidget"
    widgets = {w.get("name") for w in top.iter("widget") if w.get("class").startswith("qMRML")} - {top.get("name")}
    # Gets its scene with the node.
    widgets -= {w.get("name") for w in top.iter("widget") if w.get("class") == "qMRMLSegmentationShow3DButton"}
    connected = {
        connection.findtext("receiver")
        for connection in root.iter("connection")
        if connection.findtext("sender") == top.get("name")
        and connection.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert connected == widgets


@pytest.mark.parametrize("module", MODULES)
def test_code_uses_widgets_that_the_panel_has(module):
    tree = parse(REPOSITORY / module / f"{module}.py")
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "ui"
    }
    names = {element.get("name") for element in panel(module).iter() if element.tag in ("widget", "action")}
    assert used and used <= names


@pytest.mark.parametrize("module", MODULES)
def test_module_has_the_classes_and_icons_that_slicer_looks_for(module):
    tree = parse(REPOSITORY / module / f"{module}.py")
    bases = {
        "": "ScriptedLoadableModule",
        "Widget": "ScriptedLoadableModuleWidget",
        "Logic": "ScriptedLoadableModuleLogic",
        "Test": "ScriptedLoadableModuleTest",
    }
    for suffix, base in bases.items():
        assert base in [ast.unparse(b) for b in classNamed(tree, module + suffix).bases]
    icons = REPOSITORY / module / "Resources" / "Icons"
    assert ET.parse(icons / f"{module}.svg").getroot().tag.endswith("svg")
    assert (icons / f"{module}.png").read_bytes().startswith(b"\x89PNG")


def containsUntranslatedWords(node):
    """Whether a text with letters occurs in the expression outside of a call of _() or translate()."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "translate"):
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and any(character.isalpha() for character in node.value)
    if isinstance(node, ast.Call):
        # A method of a text belongs to the text; the arguments of other calls are not shown to the user.
        return containsUntranslatedWords(node.func.value) if isinstance(node.func, ast.Attribute) else False
    if isinstance(node, ast.Attribute | ast.Subscript):
        return False
    return any(containsUntranslatedWords(child) for child in ast.iter_child_nodes(node))


def shownExpressions(tree):
    """Expressions whose value the user reads: texts of widgets and of the module, and arguments of dialogs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            attributes = {target.attr for target in node.targets if isinstance(target, ast.Attribute)}
            if attributes & (TEXT_PROPERTIES | PARENT_TEXTS):
                yield node.value
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in TEXT_SETTERS | TEXT_FUNCTIONS:
                yield from node.args[:1]


def untranslated(tree):
    return [ast.unparse(value) for value in shownExpressions(tree) if containsUntranslatedWords(value)]


@pytest.mark.parametrize("path", slicerSideFiles(), ids=relative)
def test_texts_for_the_user_are_translatable(path):
    assert untranslated(parse(path)) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('self.ui.label.text = "Ready"', 1),
        ('self.ui.label.text = _("Ready")', 0),
        ('self.ui.label.text = _("{n} ready").format(n=3)', 0),
        ('self.ui.label.text = f"{n} slices"', 1),
        ('self.ui.label.text = "%d slices" % n', 1),
        ('self.ui.label.text = "{} slices".format(n)', 1),
        ('self.ui.label.text = _("a") if ready else "b"', 1),
        ("self.ui.label.text = node.GetName()", 0),
        ('self.ui.edit.setToolTip("Choose")', 1),
        ('slicer.util.errorDisplay("Failed")', 1),
        ('slicer.util.errorDisplay(_("Failed"))', 0),
        ('self.ui.label.text = ""', 0),
    ],
)
def test_untranslated_texts_are_recognised(source, count):
    assert len(untranslated(ast.parse(source))) == count


@pytest.mark.parametrize("module", MODULES)
def test_translated_texts_are_literals(module):
    """The translation tool reads the sources, so a composed text could never be found."""
    for node in ast.walk(parse(REPOSITORY / module / f"{module}.py")):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            assert isinstance(node.args[0], ast.Constant), ast.unparse(node)
