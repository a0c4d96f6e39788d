"""The node that shows what a conversion did: in words, and as a picture of the layers' errors."""

SHOWN = 24
WIDTH, ROW, MARGIN = 960, 22, 16
BACK, TEXT, BAR = (24, 26, 30), (226, 228, 232), (92, 146, 219)


class ReportNode:
    """Shows the report of "Convert model file"."""

    CATEGORY = "roundwise"
    FUNCTION = "show"
    RETURN_TYPES = ("STRING", "IMAGE")
    RETURN_NAMES = ("summary", "picture")
    OUTPUT_NODE = True
    DESCRIPTION = "Tells what a conversion did, and draws the layers with the largest errors."

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"report": ("ROUNDWISE_REPORT",)}}

    def show(self, report):
        text = summary(report)
        return {"ui": {"text": [text]}, "result": (text, picture(report))}


def percent(error):
    return "–" if error is None else f"{100 * error:.3g} %"


def worst(report):
    """Layers in codes, those with the largest error first."""
    layers = [layer for layer in report["tensors"] if layer.get("weight_error") is not None]
    return sorted(layers, key=lambda layer: (-layer["weight_error"], layer["name"]))


def summary(report):
    lines = [
        f"{report['input']} → {report['output']}",
        f"{report['architecture']} (preset {report['preset']}): {report['converted_tensors']} converted, "
        f"{report['kept_tensors']} kept, {report['removed_tensors']} removed",
        f"{report['input_bytes'] / 2**20:.1f} MiB → {report['output_bytes'] / 2**20:.1f} MiB in "
        f"{report['seconds']:.1f} s",
        f"error of all weights together: {percent(report['weight_error'])}",
    ]
    for consumer in report["consumers"]:
        answer = consumer.get("program") or consumer.get("reason")
        lines.append(f"{consumer['scheme']}: {answer}")
    lines += [f"note: {note}" for note in report["notes"]]
    return "\n".join(lines)


def picture(report):
    """The largest errors as bars: an IMAGE, [1, height, width, 3] from 0 to 1."""
    import numpy
    import torch
    from PIL import Image, ImageDraw

    layers = worst(report)[:SHOWN]
    image = Image.new("RGB", (WIDTH, 2 * MARGIN + ROW * (len(layers) + 1)), BACK)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN), f"largest errors of weights; together {percent(report['weight_error'])}"
              .replace("–", "-"), fill=TEXT)
    longest = max((layer["weight_error"] for layer in layers), default=0) or 1
    half = WIDTH // 2
    for number, layer in enumerate(layers):
        top = MARGIN + ROW * (number + 1)
        length = (half - 7 * MARGIN) * layer["weight_error"] / longest
        draw.text((MARGIN, top + 4), shortened(layer["name"]), fill=TEXT)
        draw.rectangle((half, top + 3, half + max(length, 1), top + ROW - 4), fill=BAR)
        draw.text((half + max(length, 1) + 6, top + 4), percent(layer["weight_error"]), fill=TEXT)
    return torch.from_numpy(numpy.asarray(image).astype("float32") / 255).unsqueeze(0)


def shortened(name, most=68):
    # The built-in font has Latin letters alone.
    name = name.encode("ascii", "replace").decode()
    return name if len(name) <= most else "..." + name[3 - most :]
