"""A sensor reading, and how readings travel from sensor_ingest to sensor_store."""

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]


class Reading(BaseModel):
    """One reading. Without a timestamp it is of the time at which its request arrived; numbers are milliseconds."""

    model_config = ConfigDict(extra="forbid", val_temporal_unit="milliseconds", ser_json_temporal="milliseconds")

    metric: str = Field(default="value", pattern=r"^[^#\x00-\x1f\x7f]{1,100}$")
    timestamp: AwareDatetime | None = None
    # DynamoDB's numbers end there.
    value: float = Field(strict=True, allow_inf_nan=False, ge=-9.9e125, le=9.9e125)
    unit: str | None = Field(default=None, max_length=32)
    is_valid: bool = Field(default=True, strict=True)
    metadata: dict[str, JsonValue] | None = None


class Message(BaseModel):
    """What a message of the queue holds: readings by device, and when their request arrived."""

    model_config = ConfigDict(val_temporal_unit="milliseconds", ser_json_temporal="milliseconds")

    received_at: datetime
    devices: dict[str, list[Reading]]
