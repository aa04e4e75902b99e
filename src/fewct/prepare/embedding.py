"""Image embeddings of pictures, by the image encoder of SAM or MedSAM."""

from fewct.errors import UsageError
from fewct.io.medsam import EMBEDDING, Embed, Embedding, Picture
from fewct.methods.sam.inputs import Frame, network_input
from fewct.methods.sam.loading import IntensityChoice, load_backend


def load_embedding(weights: str, intensities: IntensityChoice = "auto") -> Embed:
    """Return what embeds pictures with the image encoder of a checkpoint.

    Args:
        weights: A checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM: a file, or a folder of transformers.
        intensities: How the network was trained to see grey; "auto" for what its kind tells, which is the
            same for SAM and MedSAM.

    Returns:
        A function from uint8 (rows, columns) to float32 (256, 64, 64). It raises a `UsageError` if the
        network's embeddings have another shape.

    Raises:
        InputError: If the checkpoint is absent, damaged or of another network.
        MissingExtraError: If torch is not installed.
    """
    backend = load_backend(weights, 0, intensities)

    def embed(picture: Picture) -> Embedding:
        rows, columns = picture.shape
        frame = Frame((rows, columns), backend.input_px, backend.mask_px)
        embedding = backend.embed(network_input(picture, frame, backend.intensities))
        if embedding.shape != EMBEDDING:
            raise UsageError(
                "weights",
                expected=f"an image encoder with embeddings of {EMBEDDING}, as the layout has them",
                found=f"{weights} with {embedding.shape}",
                fix="Name a checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM.",
            )
        return embedding

    return embed
