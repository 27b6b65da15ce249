"""`stream-app …` as a person types it beside a deployment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from tests.scenarios.deployment import Deployment


async def command(deployment: Deployment, *arguments: str) -> tuple[int, str]:
    """Exit code, and all that was said."""
    settings = deployment.settings
    environment = {
        **os.environ,
        "STREAM_APP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "STREAM_APP_TOPIC_PREFIX": settings.topic_prefix,
        "STREAM_APP_REDIS_URL": settings.redis_url.get_secret_value(),
        "STREAM_APP_GROUP_ID": settings.group_id,
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "stream_app", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout
