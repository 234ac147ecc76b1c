"""The registry of kinds."""

from edgewright_schemas.dataset import Dataset
from edgewright_schemas.fleet import Fleet
from edgewright_schemas.model import Model
from edgewright_schemas.repository import Repository
from edgewright_schemas.rollout import Rollout
from edgewright_schemas.thresholds import Thresholds

Document = Dataset | Model | Thresholds | Fleet | Rollout | Repository

KINDS: dict[str, type[Dataset | Model | Thresholds | Fleet | Rollout | Repository]] = {
    "Dataset": Dataset,
    "Model": Model,
    "Thresholds": Thresholds,
    "Fleet": Fleet,
    "Rollout": Rollout,
    "Repository": Repository,
}
