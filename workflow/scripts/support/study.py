"""stub"""

import yaml


class StudyError(ValueError):
    pass


def load_study(config, root):
    s = yaml.safe_load((root / f"config/studies/{config['study']}.yaml").read_text())
    s["name"] = config["study"]
    m = yaml.safe_load((root / "config/models.yaml").read_text())
    for k, v in m.items():
        if "like" in v:
            m[k] = {**m[v["like"]], **v}
    s["models"] = m
    for e in s["experiments"].values():
        for k, v in dict(
            split="test",
            timestep="nearest",
            noise="float",
            deterministic=False,
            batch_size=100,
            curtail=False,
            steps=1,
        ).items():
            e.setdefault(k, v)
    s.setdefault("notebooks", [])
    s.setdefault("checks", [])
    config.setdefault("device", "auto")
    return s
