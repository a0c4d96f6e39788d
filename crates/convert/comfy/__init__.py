"""ComfyUI nodes of roundwise: collect statistics of layers, convert model files, look at reports.

Written by `roundwise comfy install PATH`. The nodes that collect need nothing; the others need the Python
package: `pip install roundwise` with ComfyUI's Python.
"""

from .convert_file import ConvertNode
from .report import ReportNode
from .roundwise_collect import NODE_CLASS_MAPPINGS as COLLECTING
from .roundwise_collect import NODE_DISPLAY_NAME_MAPPINGS as COLLECTING_NAMES

NODE_CLASS_MAPPINGS = {
    **COLLECTING,
    "RoundwiseConvert": ConvertNode,
    "RoundwiseReport": ReportNode,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    **COLLECTING_NAMES,
    "RoundwiseConvert": "Convert model file",
    "RoundwiseReport": "Report",
}
