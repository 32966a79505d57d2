"""Code of the model card for networks that answer for pixels or boxes: from the outputs of a file to classes of pixels or objects."""

from __future__ import annotations

from nas.data.pixels import Resize, parsed

# Nothing but numbers and the lines below is put into the code.
WINDOW = '''

def window(path):
    """Of a photo: left, top, width and height of what becomes the square, and the photo's own width and height."""
    width, height = ImageOps.exif_transpose(Image.open(path)).size
    wide, high = {sides}
    left, top = {corner}
    return left, top, wide, high, width, height
'''
SIDES = {"squash": "width, height", "crop": "[min(width, height)] * 2", "pad": "[max(width, height)] * 2"}
PART = "(max(1, round({fraction} * side)) for side in ({sides}))"
INSIDE, AROUND = "(width - wide) // 2, (height - high) // 2", "-((wide - width) // 2), -((high - height) // 2)"
ON_PHOTO = '''

def on_photo(box):
    """x0, y0, x1, y1 in fractions of the square -> in pixels of the photo."""
    left, top, wide, high, width, height = window("photo.jpg")
    x0, y0, x1, y1 = (np.array(box) * [wide, high, wide, high] + [left, top, left, top]).clip(0, [width, height, width, height])
    return float(x0), float(y0), float(x1), float(y1)
'''
OBJECTS = '''

def default_boxes():
    """(A, 5) y, x, height, width and the side of the cell, in fractions of the square."""
    rows = []
    for side, sizes in facts["default_boxes"]:
        ticks = (np.arange(side) + 0.5) / side
        rows += [(y, x, high, wide, 1 / side) for y in ticks for x in ticks for high, wide in sizes]
    return np.float32(rows)


def overlaps(box, boxes):
    """IoU of a box (4,) with each of others (n, 4)."""
    common = (np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])).clip(0).prod(1)
    return common / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - common)


def objects(codes, logits, threshold=facts["threshold"]):
    """(A, 4) and (A, classes + 1) of one image -> [(score, class, (x0, y0, x1, y1))] by falling score."""
    anchors = default_boxes()
    {centers}
    half = np.exp(np.minimum(codes[:, 2:], {largest})) * anchors[:, 2:4] / 2
    boxes = np.concatenate([at - half, at + half], 1).clip(0, 1)
    {scores}
    scores = scores[:, 1:] * (boxes[:, 2:] > boxes[:, :2]).all(1)[:, None]  # the first is {first}
    found = []
    for label in range(scores.shape[1]):
        left = np.argsort(-scores[:, label], kind="stable")[:{of_class}]
        left = left[scores[left, label] >= threshold]
        while len(left):  # the best one stays, others of its class that overlap it do not
            best, left = left[0], left[1:]
            found.append((float(scores[best, label]), label, boxes[best][[1, 0, 3, 2]]))
            left = left[overlaps(boxes[best], boxes[left]) <= facts["overlap"]]
    return sorted(found, key=lambda one: -one[0])[:{most}]


found = objects(outputs["boxes"].reshape(-1, 4), outputs["classes"].reshape(-1, len(facts["classes"]) + 1))
'''
SCORES = {
    "sigmoid": "scores = 1 / (1 + np.exp(-logits))",
    "softmax": "exp = np.exp(logits - logits.max(1, keepdims=True))\n    scores = exp / exp.sum(1, keepdims=True)",
    "objectness": "chances = 1 / (1 + np.exp(-logits))\n    scores = chances * chances[:, :1]",
}
OF_SSD = 'codes = codes / np.float32(facts["code_scale"])\n    at = anchors[:, :2] + codes[:, :2] * anchors[:, 2:4]'
OF_YOLO = "at = anchors[:, :2] + (1 / (1 + np.exp(-codes[:, :2])) - 0.5) * anchors[:, 4:]"
WHOLE_OBJECTS = '''boxes, scores, classes = (outputs[name][0] for name in ("boxes", "scores", "classes"))
found = [(float(scores[i]), int(classes[i]), boxes[i]) for i in range(outputs["count"][0])]
'''
OBJECTS_SHOWN = '''print([(facts["classes"][label], score, on_photo(box)) for score, label, box in found])
'''
MASK = '''# Of the square; logits resized to the photo before they are compared give smoother borders.
mask = outputs["logits"][0].argmax({axis}).astype(np.uint8)
'''
WHOLE_MASK = 'mask = outputs["mask"][0]\n'
MASK_SHOWN = '''Image.fromarray(mask).save("mask.png")
print({name: float((mask == number).mean()) for number, name in enumerate(facts["classes"])})
'''


def places(rule: Resize) -> str:
    """Code that brings boxes back to the photo that the rule made square: what `nas.workflows.placing.boxes_on` does."""
    name, fraction = parsed(rule)
    sides = SIDES[name] if fraction == 1 else PART.format(fraction=fraction, sides=_pair(SIDES[name]))
    return WINDOW.format(sides=sides, corner=AROUND if name == "pad" else INSIDE) + ON_PHOTO


def _pair(sides: str) -> str:
    return f"*{sides}," if sides.startswith("[") else sides


def objects(scores: str, largest: float, of_class: int, most: int) -> str:
    """Code from a detector's codes and logits to its objects: what `nas.tasks.boxes.selection` does, but for its limit over all classes."""
    is_yolo = scores == "objectness"
    values = {
        "{largest}": repr(largest), "{of_class}": str(of_class), "{most}": str(most), "{scores}": SCORES[scores],
        "{centers}": OF_YOLO if is_yolo else OF_SSD, "{first}": "whether there is an object" if is_yolo else "the background",
    }  # fmt: skip
    code = OBJECTS
    for key, value in values.items():
        code = code.replace(key, value)
    return code
