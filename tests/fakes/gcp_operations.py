# SPDX-License-Identifier: Apache-2.0
"""Operations of the fake of Google: begun once for a requestId, they end when they were looked at often enough, or by themselves.

gcp.py mixes this into its fake, which has `operations`, `requests`, `dooms` and `operation_seconds`.
"""

import time
import uuid
from typing import Optional

from fakes import discovery
from fakes.discovery import Wrong
from fakes.gcp_rules import BASE, PROJECT, gone
from fakes.gcp_things import Doom, Operation, stamp


class Operations:
    def _start(self, call, kind: str, where: dict, target: str, doom=None, finish=None) -> dict:
        request_id = call.one("requestId")
        number = next(self._numbers)
        operation = Operation(
            f"operation-{int(self.now() * 1000)}-{number:x}", kind, where["zone"], target, number, self.now(), time.monotonic(), request_id
        )
        operation.finish = finish
        if doom:
            operation.error, operation.http = doom.error, doom.http
        self.operations[operation.name] = operation
        if request_id:
            self.requests[request_id] = operation
        return self._operation(operation)

    def _replay(self, call) -> Optional[dict]:
        request_id = call.one("requestId")
        if not request_id:
            return None
        if str(uuid.UUID(request_id)) != request_id or uuid.UUID(request_id).int == 0:
            raise Wrong(f"Invalid value for field 'requestId': '{request_id}'. Must be a valid UUID")
        known = self.requests.get(request_id)
        if known and known.inserted > self.now() - 3600:
            return self._operation(known)
        return None

    def _doom(self, method: str, body, zone: str) -> Optional[Doom]:
        for doom in self.dooms:
            if doom.method == method and doom.left > 0 and (doom.when is None or doom.when(body, zone)):
                doom.left -= 1
                return doom
        return None

    def _finish(self, operation: Operation) -> None:
        if not operation.done:
            operation.done = True
            if operation.finish:
                operation.finish(operation)

    def _settle(self) -> None:
        """What nobody looks at goes on by itself."""
        for operation in self.operations.values():
            if time.monotonic() - operation.began > self.operation_seconds:
                self._finish(operation)

    def _look_at(self, operation: Operation) -> None:
        operation.looks -= 1
        if operation.looks < 0:
            self._finish(operation)

    def _operation(self, operation: Operation) -> dict:
        zone = f"{BASE}projects/{PROJECT}/zones/{operation.zone}"
        answer = {
            "kind": "compute#operation",
            "id": str(operation.number),
            "name": operation.name,
            "operationType": operation.kind,
            "status": "DONE" if operation.done else "RUNNING",
            "progress": 100 if operation.done else 0,
            "targetLink": BASE + operation.target,
            "targetId": str(operation.number + 1),
            "zone": zone,
            "selfLink": f"{zone}/operations/{operation.name}",
            "insertTime": stamp(operation.inserted),
        }
        if operation.request_id:
            answer["clientOperationId"] = operation.request_id
        if operation.done and operation.error:
            answer["error"] = operation.error
            if operation.http:
                answer["httpErrorStatusCode"], answer["httpErrorMessage"] = operation.http
        return answer

    def _operation_at(self, where) -> Operation:
        operation = self.operations.get(where["operation"])
        if not operation or operation.zone != where["zone"]:
            raise gone(f"operations/{where['operation']}")
        return operation

    def on_zoneOperations_list(self, call, where):
        shown = [one for one in self.operations.values() if one.zone == where["zone"]]
        test = discovery.parse_filter(call.one("filter")) if call.one("filter") else (lambda item: True)
        for one in shown:
            if test(self._operation(one)):
                self._look_at(one)
        return self._page(call, "operationList", [self._operation(one) for one in shown])

    def on_zoneOperations_get(self, _call, where):
        self._look_at(self._operation_at(where))
        return self._operation(self._operation_at(where))

    def on_zoneOperations_wait(self, _call, where):
        operation = self._operation_at(where)
        if self.early_waits > 0:
            self.early_waits -= 1
        else:
            self._finish(operation)
        return self._operation(operation)
