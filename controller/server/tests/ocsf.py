"""Reads events, a line each, and holds findings against the models of the schema that others publish."""

import json
import sys

from py_ocsf_models.events.findings.detection_finding import DetectionFinding

held = 0
for line in sys.stdin:
    event = json.loads(line)
    if event["class_uid"] == 2004:
        read = DetectionFinding.model_validate(event)
        assert read.type_uid.value == event["type_uid"], line
        held += 1
print(held)
