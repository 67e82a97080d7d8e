"""A pytest plugin that runs llama-server's own suite without a network, on whatever server LLAMA_SERVER_BIN_PATH names.

    cd LLAMA_CPP/tools/server/tests
    PYTHONPATH=QUIPU/parity/judge QUIPU_JUDGE_MODEL=MODEL.gguf LLAMA_SERVER_BIN_PATH=SERVER \
        python -m pytest -p quipu_judge unit

Every preset of the suite gets the model that is named here, in place of one that it would download; presets are not all
started beforehand. No test is changed. With QUIPU_JUDGE_REPORT=FILE the outcome of each case is written there, one a line,
so that two servers can be compared with compare.py.
"""

import os
import sys

import pytest


def pytest_configure(config):
    sys.path.insert(0, os.getcwd())
    import utils

    model = os.environ["QUIPU_JUDGE_MODEL"]

    def local(preset):
        def make():
            server = preset()
            server.model_hf_repo = None
            server.model_hf_file = None
            server.model_url = None
            server.mmproj_url = None
            server.model_file = model
            return server

        return staticmethod(make)

    for name in [name for name in vars(utils.ServerPreset) if not name.startswith("_")]:
        if name == "load_all":
            utils.ServerPreset.load_all = staticmethod(lambda: None)
        else:
            setattr(utils.ServerPreset, name, local(getattr(utils.ServerPreset, name)))

    def refuse(url, *args, **kwargs):
        raise RuntimeError(f"no network: {url}")

    utils.download_file = refuse


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    path = os.environ.get("QUIPU_JUDGE_REPORT")
    is_end = report.when == "call" or (report.when == "setup" and report.outcome != "passed")
    if path and is_end:
        with open(path, "a") as out:
            out.write(f"{report.outcome} {item.nodeid}\n")
