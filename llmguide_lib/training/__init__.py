"""Training: schedules, optimizers, and one loop for all models and objectives that can be stopped at any moment."""

from .config import TrainConfig
from .loop import train
from .optimizers import AdamW, Muon
from .records import Records
from .schedules import Constant, Cosine, InverseSquareRoot, WarmupStableDecay
