"""COCO 2017, as it is published."""

from __future__ import annotations

from pathlib import Path

from tests.datasets.exports.fruit import (
    HEIGHT,
    WIDTH,
    Json,
    area,
    box,
    corners,
    dump,
    objects,
    pictures,
)


def coco_2017(root: Path) -> None:
    """COCO's own folders: instances beside keypoints and captions, a crowd as run lengths."""
    for subset, shown in (("train", pictures(3)), ("val", pictures(2, 3))):
        images = []
        for picture in shown:
            name = f"{picture.index:012}.jpg"
            picture.save(root / f"{subset}2017" / name)
            images.append(
                {
                    "license": 3,
                    "file_name": name,
                    "coco_url": f"http://images.cocodataset.org/{subset}2017/{name}",
                    "height": HEIGHT,
                    "width": WIDTH,
                    "date_captured": "2013-11-14 11:18:45",
                    "flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
                    "id": picture.index,
                }
            )
        annotations: list[Json] = [
            {
                "segmentation": [corners(name)],
                "area": float(area(name)),
                "iscrowd": 0,
                "image_id": picture.index,
                "bbox": box(name),
                "category_id": {"nut": 1, "fig": 90}[name],
                "id": 900_100_000_000 + number,
            }
            for number, _, picture, name in objects(shown)
        ]
        counts = [50 * HEIGHT + 2, *[3, HEIGHT - 3] * 9, 3, 5 * HEIGHT - 5]
        annotations.append(
            {
                "segmentation": {"counts": counts, "size": [HEIGHT, WIDTH]},
                "area": 30,
                "iscrowd": 1,
                "image_id": shown[0].index,
                "bbox": [50, 2, 10, 3],
                "category_id": 1,
                "id": 900_100_999_999,
            }
        )
        content = {
            "info": {
                "description": "COCO 2017 Dataset",
                "url": "http://cocodataset.org",
                "version": "1.0",
                "year": 2017,
                "contributor": "COCO Consortium",
                "date_created": "2017/09/01",
            },
            "licenses": [{"url": "http://creativecommons.org", "id": 3, "name": "Attribution"}],
            "images": images,
            "annotations": annotations,
            "categories": [
                {"supercategory": "food", "id": 1, "name": "nut"},
                {"supercategory": "food", "id": 90, "name": "fig"},
            ],
        }
        dump(root / "annotations" / f"instances_{subset}2017.json", content)
        people = [{**annotations[0], "keypoints": [5, 7, 2] * 17, "num_keypoints": 17}]
        dump(
            root / "annotations" / f"person_keypoints_{subset}2017.json",
            {**content, "annotations": people},
        )
        captions = [{"image_id": shown[0].index, "id": 1, "caption": "A nut and a fig."}]
        dump(
            root / "annotations" / f"captions_{subset}2017.json",
            {"info": content["info"], "images": images, "annotations": captions},
        )
