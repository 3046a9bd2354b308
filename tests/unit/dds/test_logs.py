"""Logs of other projects become certificates, ours become logs, and nothing is lost or made up."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from dds.__main__ import main
from dds.logs import (
    COLUMNS,
    read_certificates,
    read_log,
    read_logs,
    write_certificates,
    write_log,
    write_logs,
)
from dds.statistics.accuracy import certified_accuracy
from dds.statistics.certificates import ABSTAIN, compute_certificates

HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime"
# Image 0 is right, 20 abstains, 40 is right, 60 is wrong.
FLAGS = [
    "0\t3\t3\t0.378\t1\t0:00:15.4",
    "20\t7\t-1\t0.0\t0\t0:00:15.6",
    "40\t4\t4\t0.341\t1\t0:00:15.7",
    "60\t2\t0\t0.9\t0\t0:00:15.7",
]
RUNNING = [
    "0\t3\t3\t0.378\t1\t15.4",
    "20\t7\t-1\t0.0\t1\t15.6",
    "40\t4\t4\t0.341\t2\t15.7",
    "60\t2\t0\t0.9\t2\t15.7",
]


def write(path, lines, header=HEADER, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(end.join([*([header] if header else []), *lines, ""]).encode())
    return path


def certificates(images=3):
    counts = pd.DataFrame(
        [
            {"image": image, "label": image % 2, "sigma": sigma, "classifier": classifier,
             "selection": [9, 1], "estimation": [1000 - 7 * image, 7 * image]}
            for sigma in (0.25, 0.5) for classifier in ("cnn", "vit") for image in range(images)
        ]
    )  # fmt: skip
    plan = {"plan": "fixed", "n0": 10, "n": 1000}
    return compute_certificates(counts, plan, 0.001)


@pytest.mark.parametrize("lines", [FLAGS, RUNNING], ids=["flags", "running count"])
def test_both_meanings_of_correct_are_told_apart(tmp_path, lines):
    log = read_log(write(tmp_path / "log.tsv", lines), "resnet", 0.25)
    assert log["image"].tolist() == [0, 20, 40, 60]
    assert log["prediction"].tolist() == [3, ABSTAIN, 4, 0]
    assert log["radius"].tolist() == [0.378, 0.0, 0.341, 0.9]
    assert log["correct"].tolist() == [True, False, True, False]
    assert set(log["classifier"]) == {"resnet"}
    assert set(log["sigma"]) == {0.25}
    assert list(log.columns) == COLUMNS
    assert log[["n0", "n", "successes", "p_lower", "selected"]].isna().all(axis=None)


@given(
    hits=st.lists(st.booleans(), min_size=1, max_size=30),
    start=st.integers(0, 5),
    running=st.booleans(),
)
def test_any_column_of_either_meaning_is_read(tmp_path_factory, hits, start, running):
    column = start + np.cumsum(hits) if running else np.array(hits, int)
    lines = [f"{i}\t1\t{int(hit)}\t0.1\t{correct}\t0" for i, (hit, correct) in
             enumerate(zip(hits, column, strict=True))]  # fmt: skip
    path = write(tmp_path_factory.mktemp("log") / "log.tsv", lines)
    assert read_log(path)["correct"].tolist() == hits


def test_joined_running_counts_start_anew(tmp_path):
    again = [line.replace("\t", "1\t", 1) for line in RUNNING]
    log = read_log(write(tmp_path / "log.tsv", [*RUNNING, *again]))
    assert log["correct"].tolist() == [True, False, True, False] * 2


@pytest.mark.parametrize(
    ("header", "end"),
    [
        (HEADER, "\r\n"),
        ("\ufeff" + HEADER, "\n"),
        ("Index\tlabel\tPrediction\tradius\tcorrect\ttime", "\n"),
        (None, "\n"),
        (HEADER, "\n\n"),
    ],
    ids=["Windows", "byte order mark", "synonyms", "no header", "blank lines"],
)
def test_variants_of_the_format_read_the_same(tmp_path, header, end):
    expected = read_log(write(tmp_path / "plain" / "log.tsv", FLAGS))
    pd.testing.assert_frame_equal(
        read_log(write(tmp_path / "other" / "log.tsv", FLAGS, header, end)), expected
    )


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([*FLAGS[:3], "60\t2\t0\t0."], "line 5: 4 fields where the first line has 6; .* cut off"),
        ([*FLAGS[:2], "40\t4", FLAGS[3]], "line 4: 2 fields where the first line has 6$"),
        ([*FLAGS, FLAGS[1]], "line 6: image 20 is on an earlier line too"),
        (["0\t3\t3\tnan\t1\t0"], "line 2: radius is nan, not a number of at least 0"),
        (["0\t3\t3\t-0.1\t1\t0"], "line 2: radius is -0.1"),
        (["0\t3\t3\tinf\t1\t0"], "line 2: radius is inf"),
        (["0\t3\t-1\t0.1\t0\t0"], "line 2: radius is 0.1 although the classifier abstains"),
        (["0\t3\t3\tlarge\t1\t0"], "line 2: radius is 'large', not a number"),
        (["0\t3\t3.5\t0.1\t0\t0"], "line 2: prediction is '3.5', not a whole number"),
        (["0\t3\t-2\t0.1\t0\t0"], "line 2: prediction is -2, below -1"),
        (["0\t-3\t3\t0.1\t0\t0"], "line 2: label is -3, below 0"),
        ([*FLAGS[:3], "60\t2\t0\t0.9\t1\t0"], "line 5: correct is 1, neither 0/1 nor"),
        ([*RUNNING[:3], "60\t2\t0\t0.9\t3\t0"], "line 5: correct is 3, neither 0/1 nor"),
        ([], "has no image"),
    ],
)
def test_damaged_logs_are_refused_by_line(tmp_path, lines, problem):
    with pytest.raises(ValueError, match=problem):
        read_log(write(tmp_path / "log.tsv", lines))


def test_other_files_are_no_logs(tmp_path):
    with pytest.raises(ValueError, match="line 1: expected the columns idx label predict"):
        read_log(write(tmp_path / "predictions.tsv", [], "idx\tlabel\tpredict\tcorrect\ttime"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xd8\xff\xe0", r"log\.tsv is no text in UTF-8$"),
        (f"{HEADER}\n0\t3\t3\t0.4\t1\té\n".encode("latin-1"), r"log\.tsv is no text in UTF-8$"),
        (f"{HEADER}\n{FLAGS[0]}".encode("utf-16"), "seems to be UTF-16: save it as UTF-8"),
        (f"{HEADER}\n{FLAGS[0]}".encode("utf-16-be"), "seems to be UTF-16: save it as UTF-8"),
    ],
    ids=["a picture", "Latin-1", "UTF-16", "UTF-16 without a mark"],
)
def test_other_encodings_are_refused(tmp_path, content, problem):
    (tmp_path / "log.tsv").write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        read_log(tmp_path / "log.tsv")


def test_an_image_without_a_radius_is_certified_at_none(tmp_path):
    log = read_log(write(tmp_path / "log.tsv", ["0\t3\t-1\tnan\t0\t0"]))
    assert log["computed"].tolist() == [False]
    assert certified_accuracy(log, [0])["accuracy"].tolist() == [0]


@pytest.mark.parametrize(
    ("name", "sigma"),
    [
        ("noise_0.25/test/sigma_0.50", 0.5),
        ("noise_0.25/log.tsv", 0.25),
        ("noise_0.25/sigma_1.tsv", 1.0),
        ("sigma_1e-05.tsv", 1e-5),
        ("sigma1e-2", 0.01),
        ("sigma_1.5e-3_n100", 0.0015),
        ("sigma_0.25_100", 0.25),
        ("sigma_0.25N100.tsv", 0.25),
        ("noise_64_255/sigma_0.25.tsv", 0.25),
    ],
)
def test_sigma_comes_from_the_path(tmp_path, name, sigma):
    assert read_log(write(tmp_path / name, FLAGS))["sigma"].tolist() == [sigma] * 4


def test_a_path_that_names_no_sigma_gives_none(tmp_path):
    assert read_log(write(tmp_path / "noise2noise/cnn.tsv", FLAGS))["sigma"].isna().all()


@pytest.mark.parametrize("name", ["sigma_64_255.tsv", "sigma_12_16", "noise_0.25_0.5/cnn.tsv"])
def test_a_path_that_leaves_the_level_open_is_refused(tmp_path, name):
    log = write(tmp_path / "logs" / name, FLAGS)
    for read, path in ((read_log, log), (read_logs, tmp_path / "logs")):
        with pytest.raises(ValueError, match=r"the noise level in .* may be .* or not; give sigma"):
            read(path)
        assert set(read(path, sigma=0.5)["sigma"]) == {0.5}


def test_a_folder_is_read_by_its_names(tmp_path):
    write(tmp_path / "resnet/sigma_0.25", FLAGS)
    write(tmp_path / "resnet/sigma_0.50.tsv", RUNNING)
    write(tmp_path / "macer.tsv", RUNNING)
    (tmp_path / "SOURCES.csv").write_text("file,sha256\n")
    logs = read_logs(tmp_path)
    found = logs[["classifier", "sigma"]].drop_duplicates().itertuples(index=False, name=None)
    assert list(found) == [("macer", pytest.approx(np.nan, nan_ok=True)), ("resnet", 0.25),
                           ("resnet", 0.5)]  # fmt: skip
    with pytest.raises(ValueError, match=r"are both of resnet at sigma 1\.0"):
        read_logs(tmp_path, sigma=1.0)
    write(tmp_path / "resnet/sigma_0.5", FLAGS)
    with pytest.raises(ValueError, match=r"are both of resnet at sigma 0\.5"):
        read_logs(tmp_path)


@pytest.fixture
def damaged(tmp_path):
    """A folder of two logs, and four more that are damaged."""
    folder = tmp_path / "damaged"
    write(folder / "resnet/sigma_0.25", FLAGS)
    write(folder / "resnet/sigma_0.5", RUNNING, end="\r\n")
    write(folder / "not begun/sigma_0.25", [])
    write(folder / "twice/sigma_0.25", [*FLAGS, FLAGS[0]])
    write(folder / "cut.tsv", [FLAGS[0][:9]])
    (folder / "utf16").write_bytes(f"{HEADER}\n{FLAGS[0]}\n".encode("utf-16"))
    return folder


PROBLEMS = ["cut.tsv, line 2: 4 fields", "not begun/sigma_0.25 has no image",
            "twice/sigma_0.25, line 6: image 0 is on an earlier line",
            "utf16 is no text in UTF-8"]  # fmt: skip


def test_damaged_logs_stop_no_others(damaged):
    refused = []
    logs = read_logs(damaged, on_refused=refused.append)
    read = logs.groupby(["classifier", "sigma"]).size()
    assert read.to_dict() == {("resnet", 0.25): 4, ("resnet", 0.5): 4}
    assert len(refused) == len(PROBLEMS)
    for line, problem in zip(refused, PROBLEMS, strict=True):
        assert problem in line
        assert "\n" not in line
    with pytest.raises(ValueError, match=PROBLEMS[0]):
        read_logs(damaged)


@pytest.mark.parametrize("command", ["import-logs", "accuracy"])
def test_commands_say_which_logs_they_leave_out(damaged, tmp_path, capsys, command):
    output = [str(tmp_path / "output.parquet")] * (command == "import-logs")
    assert main([command, str(damaged), *output]) == 1
    printed = capsys.readouterr()
    assert ("8 certificates from 2 logs" if output else "resnet") in printed.out
    *lines, last = printed.err.splitlines()
    assert all(problem in line for line, problem in zip(lines, PROBLEMS, strict=True))
    assert last == "error: 4 damaged logs are left out"
    if output:
        assert len(read_certificates(output[0])) == 8


def test_a_folder_of_damaged_logs_alone_is_refused(tmp_path, capsys):
    write(tmp_path / "logs/log.tsv", [])
    output = tmp_path / "output.parquet"
    assert main(["import-logs", str(tmp_path / "logs"), str(output)]) == 2
    assert "holds no log that is whole" in capsys.readouterr().err
    assert not output.exists()


def test_certificates_come_back_from_logs_bit_by_bit(tmp_path):
    ours = certificates()
    paths = write_logs(ours, tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in paths) == [
        "cnn/sigma_0.25.tsv", "cnn/sigma_0.5.tsv", "vit/sigma_0.25.tsv", "vit/sigma_0.5.tsv",
    ]  # fmt: skip
    key = ["classifier", "sigma", "image"]
    in_logs = [*key, "label", "prediction", "radius", "correct", "computed"]
    pd.testing.assert_frame_equal(
        read_logs(tmp_path)[in_logs].sort_values(key, ignore_index=True),
        ours[in_logs].sort_values(key, ignore_index=True),
    )


def test_what_no_log_can_hold_is_not_written(tmp_path):
    ours = certificates()
    with pytest.raises(ValueError, match="image 0 comes twice; a log is of one classifier"):
        write_log(ours, tmp_path / "log.tsv")
    with pytest.raises(ValueError, match="cannot name a file in"):
        write_logs(ours.assign(classifier="../cnn"), tmp_path / "logs")
    with pytest.raises(ValueError, match="would be the log of cnn at sigma 0.1234568 and of an"):
        write_logs(ours.replace({"sigma": {0.25: 0.1234567, 0.5: 0.1234568}}), tmp_path / "logs")
    one = ours.query("classifier == 'cnn' and sigma == 0.5")
    with pytest.raises(ValueError, match="lack the columns label; they have image"):
        write_log(one.drop(columns="label"), tmp_path / "log.tsv")
    with pytest.raises(ValueError, match="the classes of some images are not known"):
        write_log(one.assign(correct=pd.NA), tmp_path / "log.tsv")
    assert list(tmp_path.iterdir()) == []


def test_certified_accuracy_by_hand(tmp_path):
    log = read_log(write(tmp_path / "log.tsv", FLAGS), "resnet", 0.25)
    accuracy = certified_accuracy(log, [0, 0.341, 0.35, 0.5])
    assert accuracy["accuracy"].tolist() == [0.5, 0.5, 0.25, 0]
    assert accuracy["images"].tolist() == [4] * 4
    interval = binomtest(2, 4).proportion_ci(method="exact")
    np.testing.assert_allclose(accuracy.loc[0, ["low", "high"]].tolist(), interval)


def test_commands_pass_certificates_on(tmp_path, capsys):
    write(tmp_path / "logs/resnet/sigma_0.25", RUNNING)
    imported, exported = tmp_path / "imported.parquet", tmp_path / "exported"
    assert main(["import-logs", str(tmp_path / "logs"), str(imported)]) == 0
    assert "4 certificates from 1 log" in capsys.readouterr().out
    assert main(["export-log", str(imported), str(exported)]) == 0
    assert (exported / "resnet/sigma_0.25.tsv").read_text().splitlines() == [
        HEADER, "0\t3\t3\t0.378\t1\tnan", "20\t7\t-1\t0.0\t0\tnan", "40\t4\t4\t0.341\t1\tnan",
        "60\t2\t0\t0.9\t0\tnan",
    ]  # fmt: skip
    capsys.readouterr()
    for source in (imported, exported, exported / "resnet/sigma_0.25.tsv"):
        assert main(["accuracy", str(source), "--radii", "0", "0.35"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].split()[1:] == [
            "0.25", "4", "50.0", "[6.8,", "93.2]", "25.0", "[0.6,", "80.6]",
        ]  # fmt: skip


def test_commands_refuse_in_one_line(tmp_path, capsys):
    log = write(tmp_path / "logs/log.tsv", FLAGS)
    write_certificates(certificates(), tmp_path / "ours.parquet")
    (tmp_path / "foreign.parquet").write_bytes(b"PAR1 and nothing more")
    pd.DataFrame({"image": [1]}).to_parquet(tmp_path / "counts.parquet")
    (tmp_path / "empty").mkdir()
    output = tmp_path / "output.parquet"
    for arguments, problem in [
        (["accuracy", tmp_path / "absent.tsv"], "absent.tsv"),
        (["accuracy", log, "--radii", "-1"], "radii must be numbers of at least 0"),
        (["accuracy", log, "--sigma", "0"], "sigma must be above 0"),
        (["accuracy", tmp_path / "foreign.parquet"], "is not a certificates file"),
        (["accuracy", tmp_path / "counts.parquet"], "has no column label"),
        (["import-logs", tmp_path / "empty", output], "holds no log"),
        (["import-logs", log, output], "is not a folder"),
        (["export-log", log, tmp_path / "exported"], "is no file of certificates"),
        (["export-log", tmp_path / "foreign.parquet", output], "is not a certificates file"),
    ]:
        assert main([str(argument) for argument in arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert problem in printed.err
        assert printed.err.count("\n") == 1
    assert not output.exists()


def test_certificates_files_survive_the_disk(tmp_path):
    write_certificates(certificates(), tmp_path / "c.parquet")
    pd.testing.assert_frame_equal(read_certificates(tmp_path / "c.parquet"), certificates())
