"""What QGIS shows of files as they are opened. Run by a Python that has PyQGIS, such as Debian's own.

Standard input is a JSON list of tasks: `path` of a raster, or of a vector file, of which every layer is opened (or the
one named `layer`). A task may name `picture`, a PNG that a raster is drawn into, a pixel a pixel.

Standard output is JSON: the version of QGIS, and for each task what the layer panel shows of each layer.
"""

import json
import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # before Qt is there

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsLayerTreeLayer,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsSimpleLegendNode,
    QgsSymbolLegendNode,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize, Qt
from qgis.PyQt.QtGui import QColor, QIcon


def opened(path):
    """The layers of a file, as they are when it is dragged into QGIS."""
    if path.endswith(".tif"):
        return {"": QgsRasterLayer(path, "raster")}
    names = [each.name() for each in QgsProviderRegistry.instance().querySublayers(path)]
    return {name: QgsVectorLayer(f"{path}|layername={name}", name, "ogr") for name in names}


def legend(layer):
    """Text and colour of each entry of the layer panel, but for the line that names a raster's band."""
    panel = QgsLayerTreeLayer(layer)  # of which the nodes are part
    nodes = layer.legend().createLayerTreeModelLegendNodes(panel)
    return [entry(node) for node in nodes if type(node) is not QgsSimpleLegendNode]


def entry(node):
    if not isinstance(node, QgsSymbolLegendNode):
        text, icon = node.data(Qt.DisplayRole), node.data(Qt.DecorationRole)
        if not isinstance(icon, QIcon):
            return ["a bar", None]
        return [text, icon.pixmap(16, 16).toImage().pixelColor(8, 8).name()]
    symbol = node.symbol().symbolLayer(0)
    hollow = symbol.layerType() == "SimpleFill" and symbol.brushStyle() == Qt.NoBrush
    return [node.symbolLabel(), "hollow" if hollow else symbol.color().name()]


def draw(layer, path):
    """A map canvas with this layer alone, nothing behind it."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(layer.width(), layer.height()))
    settings.setBackgroundColor(QColor(0, 0, 0, 0))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(path)


def shown(layer, task):
    if not layer.isValid():
        return {"error": layer.error().summary() or "QGIS cannot open it"}
    told = {}
    if "picture" in task:
        draw(layer, task["picture"])
    if isinstance(layer, QgsVectorLayer):
        told["labels"] = layer.labeling().settings().fieldName if layer.labelsEnabled() else None
    return {**told, "crs": layer.crs().authid(), "renderer": layer.renderer().type(), "legend": legend(layer)}


def answer(task):
    layers = opened(task["path"])
    return {name: shown(layer, task) for name, layer in layers.items() if task.get("layer", name) == name}


application = QgsApplication([], False)
QgsApplication.setPrefixPath("/usr", True)
application.initQgis()
json.dump({"version": Qgis.QGIS_VERSION, "tasks": [answer(task) for task in json.load(sys.stdin)]}, sys.stdout)
application.exitQgis()
