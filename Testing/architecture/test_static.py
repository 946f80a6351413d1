"""Promises that the sources keep without being run: panels, imports of Slicer's side, translatable texts."""

import ast
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("SAM2Adapt", "SAM2AdaptTraining")
LIBRARY = REPOSITORY / "SAM2Adapt" / "SAM2AdaptLib"
EFFECTS = [REPOSITORY / "SAM2Adapt" / name for name in ("SAM2AdaptSegmentEditor", "SAM2AdaptCorrectEffect")]
# What Slicer's Python has from its start; and what both sides share, which needs no more (see test_imports.py).
IN_SLICER = {"SegmentEditorEffects", "slicer", "vtk", "qt", "ctk", "numpy", "SAM2AdaptLib"}
SHARED = "sam2adapt.shared"
ENGINES_PACKAGES = {"torch", "torchvision", "sam2", "monai", "SimpleITK"}
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
    modules = [REPOSITORY / module / f"{module}.py" for module in MODULES]
    return modules + sorted(path for folder in (LIBRARY, *EFFECTS) for path in folder.rglob("*.py"))


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


def isShared(name):
    return name == SHARED or name.startswith(f"{SHARED}.")


def test_slicer_side_imports_at_file_scope():
    """Slicer loads its modules before anything of the engine is installed."""
    allowed = sys.stdlib_module_names | IN_SLICER
    wrong = [
        f"{relative(path)} imports {name}"
        for path in slicerSideFiles()
        for name in importedNames(fileScope(parse(path)))
        if name.partition(".")[0] not in allowed and not isShared(name)
    ]
    assert wrong == []


def test_modules_of_slicer_keep_to_their_side_of_the_wall():
    """As the contract for SAM2AdaptLib, for the two files beside it, which are no package."""
    wrong = []
    for module in MODULES:
        for name in importedNames(ast.walk(parse(REPOSITORY / module / f"{module}.py"))):
            package = name.partition(".")[0]
            if package in ENGINES_PACKAGES or (package == "sam2adapt" and not isShared(name)):
                wrong.append(f"{module}.py imports {name}")
    assert wrong == []


def panel(module):
    return ET.parse(REPOSITORY / module / "Resources" / "UI" / f"{module}.ui").getroot()


def classNamed(tree, name):
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def parameters(module):
    node = classNamed(parse(REPOSITORY / module / f"{module}.py"), f"{module}ParameterNode")
    return {field.target.id for field in node.body if isinstance(field, ast.AnnAssign)}


def connectedInCode(module):
    """Parameters for which the widget has a connector, see ``ModulePanel.connectors``."""
    widget = classNamed(parse(REPOSITORY / module / f"{module}.py"), f"{module}Widget")
    (method,) = (node for node in widget.body if isinstance(node, ast.FunctionDef) and node.name == "connectors")
    return [key.value for key in method.body[-1].value.keys]


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


def test_texts_for_the_user_are_translatable():
    wrong = {relative(path): untranslated(parse(path)) for path in slicerSideFiles()}
    assert {name: texts for name, texts in wrong.items() if texts} == {}


def test_untranslated_texts_are_recognised():
    sources = [
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
    ]
    found = [(source, len(untranslated(ast.parse(source)))) for source, _ in sources]
    assert found == sources


@pytest.mark.parametrize("module", MODULES)
def test_translated_texts_are_literals(module):
    """The translation tool reads the sources, so a composed text could never be found."""
    for node in ast.walk(parse(REPOSITORY / module / f"{module}.py")):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            assert isinstance(node.args[0], ast.Constant), ast.unparse(node)


def test_no_file_is_mapped_into_memory():
    """A mapped file that its owner cuts short ends the process by a signal (SIGBUS); see ``imaging/stored/tiff.py``."""
    mapping = {"mmap", "memmap", "open_memmap", "mmap_mode", "safe_open", "load_file"}
    wrong = [
        f"{relative(path)}: {word}"
        for folder in ("sam2adapt", "SAM2AdaptLib")
        for path in sorted((REPOSITORY / "SAM2Adapt" / folder).rglob("*.py"))
        for node in ast.walk(parse(path))
        for word in (getattr(node, "attr", None), getattr(node, "id", None), getattr(node, "arg", None),
                     getattr(node, "name", None))
        if word in mapping
    ]  # fmt: skip
    assert wrong == []
