"""What runs the model: torch so far. Numpy arrays in, numpy arrays out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sed.devices import DeviceError, choose_device, choose_precision
from sed.model import SedModel
from streaming.fuse import fused

Floats = NDArray[np.float32]


class TorchEngine:
    """A model on a device, in a precision.

    The front end runs in fp32 always; probabilities come back in fp32.

    Parameters
    ----------
    model
        The network with its front end.
    device
        auto, cpu, cuda or cuda:N.
    precision
        auto, fp32 or bf16, of the network. ``auto`` is bf16 where the device multiplies in it.
    """

    def __init__(self, model: SedModel, device: str = "auto", precision: str = "auto") -> None:
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.model = fused(model).to(self.device)  # a copy: the caller's stays as it is
        self.model.to(memory_format=torch.channels_last)

    def __str__(self) -> str:
        name = str(self.device)
        if self.device.type == "cuda":
            name += f" ({torch.cuda.get_device_name(self.device)})"
        else:
            n_threads = torch.get_num_threads()
            name += f", {n_threads} thread{'s' * (n_threads != 1)}"
        precision = "bf16" if self.precision == torch.bfloat16 else "fp32"
        return f"torch {torch.__version__.split('+')[0]} on {name}, {precision}"

    @torch.inference_mode()
    def columns(self, samples: Floats) -> Floats:
        """Return the log-mel columns, shape (columns, mels), of samples, shape (samples,)."""
        columns: torch.Tensor = self.model.log_mel(torch.from_numpy(samples).to(self.device))
        return columns.cpu().numpy()

    @torch.inference_mode()
    def frame_probs(self, windows: Floats) -> Floats:
        """Return the frame probabilities, shape (batch, frames, classes), of a batch of windows.

        Shape of `windows`: (batch, columns, mels).
        """
        batch = torch.from_numpy(windows).to(self.device)
        try:
            with torch.autocast(self.device.type, torch.bfloat16, self.precision == torch.bfloat16):
                features = self.model.frame_features(batch)
            output = self.model.look_along(features.float())  # small: faster and finer in fp32
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{self.device}: out of memory with {len(batch)} windows at once. "
                "Lower --batch-size."
            ) from error
        return output.frame_probs.cpu().numpy()
