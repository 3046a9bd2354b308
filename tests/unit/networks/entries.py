"""Small networks of every family, described as a registry describes them."""

CLASSES = ["a", "b", "c"]
INPUT = {"channels": 3, "size": 32, "mean": [0.5], "std": [0.5]}
VIT = {
    "network": "transformers_vit",
    "arguments": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    },
    "input": INPUT,
    "classes": CLASSES,
}
BEIT = {
    "network": "timm",
    "arguments": {
        "model": "beit_large_patch16_512",
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
    },
    "input": INPUT,
    "classes": CLASSES,
}
RESNET = {
    "network": "wide_resnet",
    "arguments": {"depth": 10, "width": 1, "base": 8},
    "input": {"channels": 3, "size": 8},
    "classes": CLASSES,
}
UNET = {
    "network": "guided_diffusion_unet",
    "arguments": {
        "image_size": 8,
        "in_channels": 3,
        "out_channels": 6,
        "model_channels": 32,
        "num_res_blocks": 1,
        "attention_resolutions": [4],
        "channel_mult": [1, 2],
        "num_heads": 4,
    },
    "input": {"channels": 3, "size": 8},
    "schedule": {"name": "cosine", "steps": 4000, "rescale_timesteps": True},
}
