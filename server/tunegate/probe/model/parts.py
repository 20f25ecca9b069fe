"""Which part of a model a tensor belongs to, by the names that modules have in transformers: vision, connector, ..."""

from __future__ import annotations

from tunegate import tasks

PARTS = ("vision", "connector", "language", "audio", "head")
# Module names, looked at from the left up to the first number. Connectors first: Qwen's merger lies inside its vision tower.
CONNECTOR = frozenset(
    "connector multi_modal_projector mm_projector multimodal_projector projector aligner qformer q_former merger "
    "deepstack_merger_list perceiver_resampler resampler resampler_model abstractor language_projection "
    "vision_projection visual_projection image_projection modality_projection embed_vision vision_proj vision_projector "
    "vision_embed_proj mm_input_projection image_proj visual_proj img_projector vit_merger image_to_text_projection "
    "vision_adapter vision_aligner mlp1 patch_merger image_newline view_separator view_seperator layerwise_projectors "
    "spatial_projectors vision_language_connector".split()
)
VISION_NAMES = frozenset(
    "visual vit vpm image_tower image_encoder img_encoder image_model vqmodel vqvae sam_model sam_encoder "
    "high_vision_model low_vision_model qwen2_encoder image_vit video_tower".split()
)
AUDIO_NAMES = frozenset("audio_tower audio_model audio_encoder embed_audio speech_encoder apm audio".split())
LANGUAGE_NAMES = frozenset("language_model text_model llm text_decoder".split())
LM_HEAD = frozenset("lm_head embed_out predictions lm_loss output_projection proj_out fc_out pred_layer".split())
HEAD_NAMES = LM_HEAD | frozenset(
    "score classifier classifier_head classification_head cls_classifier distillation_classifier head head_dist "
    "class_labels_classifier bbox_predictor class_embed bbox_embed class_predictor mask_head bbox_attention decode_head "
    "auxiliary_head segmentation_head metric_head relative_head enc_score_head enc_bbox_head enc_out_bbox_embed "
    "enc_out_class_embed qa_outputs heads".split()
)
# Encoder-decoders that read images: their encoder is the vision tower.
IMAGE_ENCODERS = ("vision-encoder-decoder", "pix2struct", "pp_formulanet")


def of_tensor(name: str, task: str, model_type: str) -> str:
    """The part: a name that tells nothing is of the language model in language tasks, else of the vision model."""
    modules = name.split(".")[:-1] or [name]
    number = next((at for at, module in enumerate(modules) if module.isdigit()), len(modules))
    modules = modules[:number]
    # a detector's projector lies inside its backbone; only a model that reads joins two
    connectors = CONNECTOR if task in tasks.TEXT else {"multi_modal_projector"}
    if not connectors.isdisjoint(modules):
        return "connector"
    for module in modules:
        if module in AUDIO_NAMES:
            return "audio"
        if module in VISION_NAMES or module.startswith("vision_"):
            return "vision"
        if module in LANGUAGE_NAMES:
            return "language" if LM_HEAD.isdisjoint(modules) else "head"
        if module in HEAD_NAMES:
            return "head"
        if module == "encoder" and model_type in IMAGE_ENCODERS:
            return "vision"
    if task in tasks.TEXT:
        return "language"
    return "head" if modules[-1:] == ["fc"] and len(modules) <= 2 else "vision"
