"""Makes published residual networks narrow, with their own blocks."""


def residual_layers(model, block, width, channels, **options):
    """One unit in each stage, from `channels` channels on; a stage is twice as wide as the one before."""
    model.inplanes = channels
    for stage in range(4):
        stride = 1 if stage == 0 else 2
        layer = model._make_layer(block, width << stage, 1, stride=stride, **options)
        setattr(model, f"layer{stage + 1}", layer)
    return model
