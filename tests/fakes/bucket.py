# SPDX-License-Identifier: Apache-2.0
"""How clouds limit their callers: a token bucket, by the times at which requests arrived."""


class Bucket:
    def __init__(self, per_second: float, burst: int):
        self.per_second, self.burst = per_second, burst
        self.tokens, self.last = float(burst), None

    def take(self, now: float) -> bool:
        if self.last is not None:
            self.tokens = min(self.burst, self.tokens + max(0.0, now - self.last) * self.per_second)
        self.last = now if self.last is None else max(now, self.last)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def wait(self) -> float:
        """Seconds until there is one to take."""
        return max(0.0, 1 - self.tokens) / self.per_second
