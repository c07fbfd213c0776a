import os
import signal
import subprocess
import sys

import httpx
import pytest

from sed.cli import run
from streaming.results.review.export import export_reviews, tables_to_review
from streaming.results.review.store import ReviewStore
from tests.streaming.results.review.reviewed import decision, write_noise


def test_the_command_serves_a_page_until_ctrl_c(tmp_path):
    write_noise(tmp_path / "a.wav")
    (tmp_path / "events.csv").write_text(
        "file,onset,offset,label,score\na.wav,1,2,dog,0.9\na.wav,4,5,owl,0.2\n"
    )
    command = [sys.executable, "-m", "sed", "review", "events.csv", "--web", "127.0.0.1:0"]
    root = os.path.dirname(os.path.dirname(sys.modules["sed"].__file__))
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(
        [*command, "--min-score", "0.5"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("review 1 event at http://127.0.0.1:")
        url = line.split()[-1]
        decision = {"id": 0, "verdict": "right", "reviewer": "Ana"}
        httpx.post(f"{url}decide", json=decision, trust_env=False).raise_for_status()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0] == (
            "1 reviewed event; labels in reviews.tsv, all decisions in reviews.csv\n"
        )
        assert process.returncode == 0
    assert (tmp_path / "reviews.tsv").read_text().endswith("\na.wav\t1.000\t2.000\tdog\n")


def test_nothing_to_review_is_misuse(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.csv").write_text("file,onset,offset,label,score\na.wav,1,2,dog,0.9\n")
    assert run(["review", "events.csv", "--min-score", "0.95"]) == 2
    assert "there are no events to review" in capsys.readouterr().err
    assert run(["review", "events.csv", "--web", "0.0.0.0:0"]) == 2
    assert "give --token" in capsys.readouterr().err


TABLE = "file,onset,offset,label,score\na.wav,1,2,dog,0.9\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["events.csv", "--db", "events.sqlite"], "events.csv exists already, and would be"),
        (["events.csv", "--db", "new.csv"], "new.csv would be replaced by a table. Give --db a"),
        (["kept.csv", "--db", "kept.sqlite"], "kept.csv would be replaced by the decisions about"),
    ],
)
def test_a_table_that_is_not_of_the_review_is_never_replaced(
    tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    with ReviewStore("kept.sqlite"):
        pass
    for name in ("events.csv", "kept.csv"):
        (tmp_path / name).write_text(TABLE)
    assert run(["review", *options, "--web", "0.0.0.0:0"]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "events.csv").read_text() == (tmp_path / "kept.csv").read_text() == TABLE


def test_the_tables_of_a_review_in_the_folder_of_events_are_no_events(tmp_path):
    (tmp_path / "events.csv").write_text(TABLE)
    db = tmp_path / "reviews.sqlite"
    with ReviewStore(db) as store:
        store.add(decision(0))
        export_reviews(store)
        # The page is open.
        assert tables_to_review([tmp_path], db) == [tmp_path / "events.csv"]
    assert tables_to_review([tmp_path], db) == [tmp_path / "events.csv"]
