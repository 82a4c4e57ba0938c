#!/usr/bin/env bash
# An answer that a model does not give arrives as a no: clients of the Open Inference protocol (tritonclient 2.73.0, MLServer 1.7.1) read a
# null of a truth value as false, and one missing text makes MLServer cut all other texts beside it.
#
# Behaviour: a tensor of JSON with null in it is put into an array of its kind. FP64 becomes not-a-number. BOOL becomes false, without a
# word. INT64 raises. BYTES stays None in tritonclient; MLServer makes None a text, and cuts every text of the tensor to as many letters as
# the tensor has rows: of three sessions, browser and buyer become bro and buy, and the one without a segment is in Non. Without the null
# they stay whole. Seen on 2026-11-30.
# The usual guess: what is null in the answer is unknown in the client, or refused; and a missing value changes nothing but itself.
# Why it matters: for a session that has bought already there is nothing to predict. A shop that counts flags by such a client counts it
# among those who were looked at and not flagged. One session that is too short for a segment renames the segments of all others.
# Source: MLServer's codecs/numpy.py, and the run below; the protocol (version 2, kinds of tensors) names no missing value.
# Remedy: answer in kinds that have a word for it: FP64 where a number may be missing, a text such as yes, no or empty instead of BOOL, and
# empty texts instead of null.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check "tritonclient[http]==2.73.0" mlserver==1.7.1 numpy==2.4.6

cat > "$place/look.py" <<'PY'
import json
from importlib.metadata import version

import numpy
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from tritonclient.http import InferResult

answers = {
    "FP64": [0.25, 0.5, None],
    "BOOL": [True, False, None],
    "INT64": [3, 5, None],
    "BYTES": ["browser", "buyer", None],
}
outputs = [dict(name=kind, shape=[3], datatype=kind, data=data) for kind, data in answers.items()]
body = json.dumps(dict(model_name="visits", outputs=outputs)).encode()
triton = InferResult.from_response_body(body)
mlserver = {one.name: one for one in InferenceResponse.model_validate_json(body).outputs}


def seen(read):
    "What a client makes of the three sessions."
    try:
        return read().tolist()
    except TypeError as error:
        return f"TypeError: {error}"


print(f"tritonclient {version('tritonclient')}, MLServer {version('mlserver')}, numpy {numpy.__version__}")
found = {
    kind: (seen(lambda: triton.as_numpy(kind)), seen(lambda: NumpyCodec.decode_output(mlserver[kind])))
    for kind in answers
}
for kind, (one, other) in found.items():
    print(f"{kind}: sent {answers[kind]}; tritonclient {one}; MLServer {other}")
assert found["BOOL"] == ([True, False, False], [True, False, False]), "it is otherwise now"
assert all(str(one).startswith("TypeError") for one in found["INT64"]), "it is otherwise now"
assert all(numpy.isnan(one[2]) for one in found["FP64"]), "it is otherwise now"
assert found["BYTES"] == (["browser", "buyer", None], [b"bro", b"buy", b"Non"]), "it is otherwise now"
PY
"$place/env/bin/python" "$place/look.py" 2> "$place/words" || { tail -3 "$place/words"; exit 1; }
