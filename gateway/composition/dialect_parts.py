"""What the dialects of both transports share, around the core."""

from dataclasses import dataclass

from google.protobuf.descriptor_pool import DescriptorPool

from contracts.descriptors import load_pool
from contracts.tfserving import Messages, load_messages
from gateway.accounts.keeping import Accounts
from gateway.composition.core_parts import CoreParts
from gateway.core.readiness import Notice
from gateway.protocols.catalogue import Catalogue
from gateway.protocols.conversation import Conversation, ConversationLimits
from gateway.protocols.exchange import Exchange, ExchangeLimits
from gateway.protocols.large_bodies import LargeBodies
from gateway.protocols.model_repository import ModelRepository
from gateway.protocols.operators import Operators
from gateway.saved_models import SavedModels
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class DialectParts:
    """One of each. `pool` holds the messages of every gRPC service, `tensorflow` those of TensorFlow Serving."""

    conversation: Conversation
    exchange: Exchange
    catalogue: Catalogue
    large: LargeBodies
    operators: Operators
    model_repository: ModelRepository
    pool: DescriptorPool
    tensorflow: Messages
    saved_models: SavedModels


def make_dialects(
    settings: Settings, version: str, core: CoreParts, accounts: Accounts | None, notice: Notice
) -> DialectParts:
    """Make them. Raises OSError when the operators' token cannot be read."""
    limits = ConversationLimits(settings.default_timeout_s, settings.longest_timeout_s)
    conversation = Conversation(core.inference, core.router, core.metrics, limits, accounts)
    usage = core.ledger.usage
    operators = Operators(settings.read_admin_token())
    pool = load_pool()
    tensorflow = load_messages(pool)
    return DialectParts(
        conversation=conversation,
        exchange=Exchange(conversation, ExchangeLimits(settings.body_limit_bytes, settings.default_timeout_s)),
        catalogue=Catalogue(core.keeper, core.router, core.peers, usage, notice, version, settings.batch_rows),
        large=LargeBodies(settings.default_timeout_s),
        operators=operators,
        model_repository=ModelRepository(core.keeper, core.rollouts, operators),
        pool=pool,
        tensorflow=tensorflow,
        saved_models=SavedModels(settings.repository, tensorflow),
    )
