"""Asks the vision model of ov.conf as OpenViking's server does; prints the answer."""

import asyncio
import json
import os
from pathlib import Path

from openviking_cli.utils.config.vlm_config import VLMConfig

config = json.loads(Path(os.environ["OPENVIKING_CONFIG_FILE"]).read_text())
model = VLMConfig(**config["vlm"])
print(asyncio.run(model.get_completion_async("hi there")))
