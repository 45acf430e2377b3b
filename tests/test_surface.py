"""Matterport's surface: every name with every form of call, and the page that lists them."""

# ruff: noqa: E501  (a signature is one line of the table)

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"
VERDICTS = ("kept", "adapted", "impossible")

# One line a function, indented ones are methods of the class above. A name that stands twice
# has two forms: Matterport's versions differ, and scripts of both must run.
SURFACE = {
    "mrcnn.config": """
        class Config
            __init__(self)
            to_dict(self)
            display(self)
    """,
    "mrcnn.model": """
        log(text, array=None)
        class BatchNorm
        compute_backbone_shapes(config, image_shape)
        identity_block(input_tensor, kernel_size, filters, stage, block, use_bias=True, train_bn=True)
        conv_block(input_tensor, kernel_size, filters, stage, block, strides=(2, 2), use_bias=True, train_bn=True)
        resnet_graph(input_image, architecture, stage5=False, train_bn=True)
        apply_box_deltas_graph(boxes, deltas)
        clip_boxes_graph(boxes, window)
        class ProposalLayer
            __init__(self, proposal_count, nms_threshold, config=None, **kwargs)
        log2_graph(x)
        class PyramidROIAlign
            __init__(self, pool_shape, **kwargs)
        overlaps_graph(boxes1, boxes2)
        detection_targets_graph(proposals, gt_class_ids, gt_boxes, gt_masks, config)
        class DetectionTargetLayer
            __init__(self, config, **kwargs)
            compute_mask(self, inputs, mask=None)
        refine_detections_graph(rois, probs, deltas, window, config)
        class DetectionLayer
            __init__(self, config=None, **kwargs)
        rpn_graph(feature_map, anchors_per_location, anchor_stride)
        build_rpn_model(anchor_stride, anchors_per_location, depth)
        fpn_classifier_graph(rois, feature_maps, image_meta, pool_size, num_classes, train_bn=True, fc_layers_size=1024)
        build_fpn_mask_graph(rois, feature_maps, image_meta, pool_size, num_classes, train_bn=True)
        build_fpn_mask_graph(rois, feature_maps, image_meta, pool_size, num_classes, train_bn=True, mask_shape=(28, 28))
        smooth_l1_loss(y_true, y_pred)
        rpn_class_loss_graph(rpn_match, rpn_class_logits)
        rpn_bbox_loss_graph(config, target_bbox, rpn_match, rpn_bbox)
        mrcnn_class_loss_graph(target_class_ids, pred_class_logits, active_class_ids)
        mrcnn_bbox_loss_graph(target_bbox, target_class_ids, pred_bbox)
        mrcnn_mask_loss_graph(target_masks, target_class_ids, pred_masks)
        mrcnn_mask_edge_loss_graph(y_pred, y_true, edge_filters, smoothing_predictions, smoothing_gt, norm, weight_entropy, weight_factor)
        load_image_gt(dataset, config, image_id, augmentation=None)
        load_image_gt(dataset, config, image_id, augment=False, augmentation=None, use_mini_mask=False)
        build_detection_targets(rpn_rois, gt_class_ids, gt_boxes, gt_masks, config)
        build_rpn_targets(image_shape, anchors, gt_class_ids, gt_boxes, config)
        generate_random_rois(image_shape, count, gt_class_ids, gt_boxes)
        data_generator(dataset, config, shuffle=True, augment=False, augmentation=None, random_rois=0, batch_size=1, detection_targets=False)
        class DataGenerator
            __init__(self, dataset, config, shuffle=True, augmentation=None, random_rois=0, detection_targets=False)
            __len__(self)
            __getitem__(self, idx)
        class MaskRCNN
            __init__(self, mode, config, model_dir)
            build(self, mode, config)
            find_last(self)
            load_weights(self, filepath, by_name=False, exclude=None)
            get_imagenet_weights(self)
            compile(self, learning_rate, momentum)
            set_trainable(self, layer_regex, keras_model=None, indent=0, verbose=1)
            set_log_dir(self, model_path=None)
            train(self, train_dataset, val_dataset, learning_rate, epochs, layers, augmentation=None, custom_callbacks=None, no_augmentation_sources=None)
            mold_inputs(self, images)
            unmold_detections(self, detections, mrcnn_mask, original_image_shape, image_shape, window)
            detect(self, images, verbose=0)
            detect_molded(self, molded_images, image_metas, verbose=0)
            get_anchors(self, image_shape)
            ancestor(self, tensor, name, checked=None)
            find_trainable_layer(self, layer)
            get_trainable_layers(self)
            run_graph(self, images, outputs, image_metas=None)
        compose_image_meta(image_id, original_image_shape, image_shape, window, scale, active_class_ids)
        parse_image_meta(meta)
        parse_image_meta_graph(meta)
        mold_image(images, config)
        unmold_image(normalized_images, config)
        trim_zeros_graph(boxes, name='trim_zeros')
        trim_zeros_graph(boxes, name=None)
        batch_pack_graph(x, counts, num_rows)
        norm_boxes_graph(boxes, shape)
        denorm_boxes_graph(boxes, shape)
    """,
    "mrcnn.utils": """
        extract_bboxes(mask)
        compute_iou(box, boxes, box_area, boxes_area)
        compute_overlaps(boxes1, boxes2)
        compute_overlaps_masks(masks1, masks2)
        non_max_suppression(boxes, scores, threshold)
        apply_box_deltas(boxes, deltas)
        box_refinement_graph(box, gt_box)
        box_refinement(box, gt_box)
        class Dataset
            __init__(self, class_map=None)
            add_class(self, source, class_id, class_name)
            add_image(self, source, image_id, path, **kwargs)
            image_reference(self, image_id)
            prepare(self, class_map=None)
            map_source_class_id(self, source_class_id)
            get_source_class_id(self, class_id, source)
            image_ids(self)
            source_image_link(self, image_id)
            load_image(self, image_id)
            load_mask(self, image_id)
        resize_image(image, min_dim=None, max_dim=None, min_scale=None, mode='square')
        resize_mask(mask, scale, padding, crop=None)
        minimize_mask(bbox, mask, mini_shape)
        expand_mask(bbox, mini_mask, image_shape)
        mold_mask(mask, config)
        unmold_mask(mask, bbox, image_shape)
        generate_anchors(scales, ratios, shape, feature_stride, anchor_stride)
        generate_pyramid_anchors(scales, ratios, feature_shapes, feature_strides, anchor_stride)
        trim_zeros(x)
        compute_matches(gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks, iou_threshold=0.5, score_threshold=0.0)
        compute_ap(gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks, iou_threshold=0.5)
        compute_ap_range(gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask, iou_thresholds=None, verbose=1)
        compute_recall(pred_boxes, gt_boxes, iou)
        batch_slice(inputs, graph_fn, batch_size, names=None)
        download_trained_weights(coco_model_path, verbose=1)
        norm_boxes(boxes, shape)
        denorm_boxes(boxes, shape)
        resize(image, output_shape, order=1, mode='constant', cval=0, clip=True, preserve_range=False, anti_aliasing=False, anti_aliasing_sigma=None)
    """,
    "mrcnn.visualize": """
        display_images(images, titles=None, cols=4, cmap=None, norm=None, interpolation=None)
        random_colors(N, bright=True)
        apply_mask(image, mask, color, alpha=0.5)
        display_instances(image, boxes, masks, class_ids, class_names, scores=None, title='', figsize=(16, 16), figAx=None, show_mask=True, show_bbox=True, show_caption=True, colors=None, captions=None)
        display_instances(image, boxes, masks, class_ids, class_names, scores=None, title='', figsize=(16, 16), ax=None, show_mask=True, show_bbox=True, colors=None, captions=None)
        display_differences(image, gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask, class_names, title='', ax=None, show_mask=True, show_box=True, iou_threshold=0.5, score_threshold=0.5)
        draw_rois(image, rois, refined_rois, mask, class_ids, class_names, limit=10)
        draw_box(image, box, color)
        display_top_masks(image, mask, class_ids, class_names, limit=4)
        plot_precision_recall(AP, precisions, recalls)
        plot_overlaps(gt_class_ids, pred_class_ids, pred_scores, overlaps, class_names, threshold=0.5)
        draw_boxes(image, boxes=None, refined_boxes=None, masks=None, captions=None, visibilities=None, title='', ax=None)
        display_table(table)
        display_weight_stats(model)
    """,
    "mrcnn.parallel_model": """
        class ParallelModel
            __init__(self, keras_model, gpu_count)
            __getattribute__(self, attrname)
            summary(self, *args, **kwargs)
            make_parallel(self)
    """,
}  # fmt: skip

CLASS = None  # the form of a class: it has no signature of its own


def forms_of(text: str) -> dict[str, list[inspect.Signature | None]]:
    """The table of a module: forms by name, methods as "Class.method"."""
    forms: dict[str, list[inspect.Signature | None]] = {}
    owner = ""
    for line in inspect.cleandoc(text).splitlines():
        if line.startswith("class "):
            owner = line.removeprefix("class ")
            forms[owner] = [CLASS]
            continue
        if not line.startswith(" "):
            owner = ""
        name, arguments = re.fullmatch(r"\s*(\w+)\((.*)\)", line).groups()
        space: dict[str, Any] = {}
        exec(f"def form({arguments}): ...", space)
        key = f"{owner}.{name}" if owner else name
        forms.setdefault(key, []).append(inspect.signature(space["form"]))
    return forms


TABLE = {
    (module, name): forms
    for module, text in SURFACE.items()
    for name, forms in forms_of(text).items()
}
every_name = pytest.mark.parametrize(
    ("module", "name"), TABLE, ids=[f"{module.removeprefix('mrcnn.')}-{n}" for module, n in TABLE]
)


def find(module: str, name: str) -> Any:
    """What a dotted name of a module stands for, properties as such."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        assert hasattr(found, part), f"{module} has no {name}"
        static = inspect.getattr_static(found, part)
        found = static if isinstance(static, property) else getattr(found, part)
    return found


def calls(form: inspect.Signature) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The ways to call a form: all by place, all by name, and only what is required.

    Each argument's value is its name.
    """
    parameters = [parameter.name for parameter in named(form)]
    required = [name for name in parameters if form.parameters[name].default is inspect._empty]
    free = {"free": "free"} if takes_any_keyword(form) else {}
    yield parameters, free
    yield [], {**{name: name for name in parameters}, **free}
    yield required, {}


def takes_any_keyword(signature: inspect.Signature) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


@every_name
def test_every_form_of_call_is_accepted(module: str, name: str):
    found, forms = find(module, name), TABLE[module, name]
    if forms == [CLASS]:
        assert inspect.isclass(found)
        return
    if isinstance(found, property):
        assert [list(form.parameters) for form in forms] == [["self"]]
        return
    ours = inspect.signature(found)
    for form in forms:
        for by_place, by_name in calls(form):
            bound = ours.bind(*by_place, **by_name)
            if len(forms) == 1:  # each argument arrives under its own name
                arrived = dict(bound.arguments)
                arrived |= arrived.pop("kwargs", {})
                assert all(value == key for key, value in arrived.items()), arrived


@every_name
def test_names_order_and_defaults_are_matterports(module: str, name: str):
    found, forms = find(module, name), TABLE[module, name]
    if forms == [CLASS] or isinstance(found, property):
        return
    ours = named(inspect.signature(found))
    length = max(len(named(form)) for form in forms)
    for place in range(length):
        theirs = [form[place] for form in map(named, forms) if place < len(form)]
        if len({parameter.name for parameter in theirs}) > 1:
            continue  # here Matterport's versions differ; that both forms bind is all one can ask
        mine = ours[place] if place < len(ours) else None
        assert mine is not None and mine.name == theirs[0].name, (mine, theirs)
        if all(parameter.default is inspect._empty for parameter in theirs):
            assert mine.default is inspect._empty, mine
        else:
            # Where Matterport's versions differ, None may stand for what fits the other arguments.
            assert any(same(mine.default, parameter.default) for parameter in theirs) or (
                len(forms) > 1 and mine.default is None
            ), mine
    for extra in ours[length:]:
        assert extra.default is not inspect._empty, f"{extra} has no default"


def named(signature: inspect.Signature) -> list[inspect.Parameter]:
    return [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]


def same(default: Any, other: Any) -> bool:
    """Equal, tuples and lists taken for the same."""
    if isinstance(default, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(default) == list(other)
    return type(default) is type(other) and default == other


# --- Both forms reach what they mean ------------------------------------------------------------


def test_both_forms_of_load_image_gt():
    from mrcnn import model as modellib
    from mrcnn.data.augment import HorizontalFlip
    from mrcnn.data.dataset import Dataset
    from tests.tiny import tiny_config

    class OneSquare(Dataset):
        def load_image(self, image_id: int) -> np.ndarray:
            image = np.zeros((64, 64, 3), np.uint8)
            image[:, :20] = 200
            return image

        def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
            mask = np.zeros((64, 64, 1), bool)
            mask[10:30, :20] = True
            return mask, np.array([1], np.int32)

    dataset = OneSquare()
    dataset.add_class("squares", 1, "square")
    dataset.add_class("squares", 2, "circle")
    dataset.add_image("squares", 0, path=None)
    dataset.prepare()
    config = tiny_config()
    always = HorizontalFlip(1.0)
    plain = modellib.load_image_gt(dataset, config, 0)
    for image, _, class_ids, boxes, _ in (
        modellib.load_image_gt(dataset, config, 0, always),
        modellib.load_image_gt(dataset, config, 0, augmentation=always),
        modellib.load_image_gt(dataset, config, 0, False, always),
        modellib.load_image_gt(dataset, config, 0, False, always, False),
    ):
        np.testing.assert_array_equal(image, plain[0][:, ::-1])
        assert boxes.tolist() == [[10, 44, 30, 64]] and class_ids.tolist() == [1]
    mini, whole = (*config.MINI_MASK_SHAPE, 1), (64, 64, 1)
    assert plain[4].shape == whole
    for wanted, shape in ((True, mini), (False, whole)):
        loaded = modellib.load_image_gt(dataset, config, 0, use_mini_mask=wanted)
        assert loaded[4].shape == shape


# --- The page -----------------------------------------------------------------------------------


def documented() -> dict[tuple[str, str], tuple[str, str]]:
    """(verdict, remark) of each (module, name) of the tables of docs/compatibility.md."""
    rows: dict[tuple[str, str], tuple[str, str]] = {}
    module = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = re.fullmatch(r"### `(mrcnn\.\w+)`", line)
            module = heading.group(1) if heading else ""
        elif module and line.startswith("| `"):
            names, verdict, remark = (cell.strip() for cell in line.split("|")[1:-1])
            for name in re.findall(r"`([^`]+)`", names):
                assert (module, name) not in rows, f"{module}.{name} stands twice"
                rows[module, name] = verdict, remark
    return rows


def test_the_page_lists_the_surface_and_nothing_else():
    assert documented().keys() == TABLE.keys()


def test_each_verdict_is_known_and_explained():
    for key, (verdict, remark) in documented().items():
        assert verdict in VERDICTS, key
        assert remark or verdict == "kept", f"{key}: say how or why"


@pytest.mark.parametrize("module", SURFACE)
def test_what_the_page_lists_exists(module: str):
    for (place, name), (verdict, _) in documented().items():
        if place == module and verdict != "impossible":
            find(module, name)
