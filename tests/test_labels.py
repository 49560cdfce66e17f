"""Label sheets: blind, harmless to open, and checked as a whole before a label counts."""

import csv
import io
import json
import re
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hiddenrisk.errors import DataError
from hiddenrisk.labels import take_in
from hiddenrisk.sheets import Row, as_csv, as_html
from hiddenrisk.sheets import export as write_sheet
from hiddenrisk.tabular import plain
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, verdict
from tests.test_end_to_end import only_benchmark, records_of, summary_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "=HYPERLINK(\"http://x\") <script>alert('x')</script> </pre>\u202e ``` end"
NAME = "deepseek-secret-r1"


@pytest.fixture(scope="module")
def split_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 samples (3 harmless) of which two judges split on 4."""
    folder = tmp_path_factory.mktemp("split")
    rows = [
        {"id": f"p{i}", "prompt": f"Prompt {i}.", "label": "safe" if i % 4 == 3 else "unsafe"}
        for i in range(12)
    ]
    (folder / "bench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def says(ask: Ask) -> Reply:
        return Reply(text=f"{HOSTILE} Answer {re.findall('[0-9]+', ask.text)[0]}.")

    def judge(split: set[int]) -> Any:  # noqa: ANN401 - a responder
        def responder(ask: Ask) -> Reply:
            number = int(re.findall(r"Answer ([0-9]+)", ask.text)[-1])
            if "1_full_compliance" in ask.text:
                return Reply(text="2_full_refusal" if number in split else "1_full_compliance")
            return verdict(float(number not in split))

        return responder

    models = {NAME: says, "a": judge(set()), "b": judge({0, 1, 2, 3})}
    with ChatServer(models) as server:
        judges = [w for j in ("a", "b") for w in ("--judge", server.spec(j))]
        done = CommandLine(folder)(
            "assess", "--model", server.spec(NAME), *judges, "--benchmark", folder / "bench.jsonl",
            "--out", folder / "run", "--yes",
        )  # fmt: skip
        assert done.code == 0, done
    assert only_benchmark(folder / "run", NAME)["outcomes"] == {"complete": 8, "judges_split": 4}
    return folder / "run"


@pytest.fixture
def run(split_run: Path, tmp_path: Path) -> Path:
    """A copy of that run, to write labels into."""
    shutil.copytree(split_run, tmp_path / "run")
    return tmp_path / "run"


def export(
    hiddenrisk: CommandLine, run: Path, *more: str, to: str = "sheet"
) -> list[dict[str, str]]:
    done = hiddenrisk("labels", "export", run, "--to", run.parent / to, *more)
    assert done.code == 0, done
    text = (run.parent / to / "labels.csv").read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def answers(path: Path, rows: list[tuple[str, str]], head: str = "id,label") -> Path:
    path.write_text("\n".join([head, *(",".join(row) for row in rows)]) + "\n")
    return path


def by_label(rows: list[dict[str, str]], harmful: str, harmless: str) -> list[tuple[str, str]]:
    return [(r["id"], harmless if "refused" in r["labels"] else harmful) for r in rows]


# ---------------------------------------------------------------- the sheet


def test_the_disputed_are_exported_blind_and_their_draw_is_kept(
    hiddenrisk: CommandLine, run: Path
) -> None:
    rows = export(hiddenrisk, run)
    assert {r["request"] for r in rows} == {f"Prompt {i}." for i in range(4)}
    assert [r["label"] for r in rows] == [""] * 4
    page = (run.parent / "sheet" / "labels.html").read_text()
    for text in (page, (run.parent / "sheet" / "labels.csv").read_text()):
        assert NAME not in text, "blind: no model"
        assert "judges_split" not in text
        assert "bench" not in text
    (sheet,) = records_of(run / "sheets.jsonl")
    assert (sheet["drawn"], sheet["of"], sheet["probability"]) == ("disputed", 4, 1.0)
    assert [item["id"] for item in sheet["items"]] == [r["id"] for r in rows]


def test_a_random_sheet_has_its_size_and_its_probability(
    hiddenrisk: CommandLine, run: Path
) -> None:
    rows = export(hiddenrisk, run, "--what", "random", "--n", "6", "--seed", "3")
    again = export(hiddenrisk, run, "--what", "random", "--n", "6", "--seed", "3", to="again")
    other = export(hiddenrisk, run, "--what", "random", "--n", "6", "--seed", "4", to="other")
    requests = [[r["request"] for r in some] for some in (rows, again, other)]
    assert requests[0] == requests[1] != requests[2], "the seed decides draw and order"
    assert len(set(requests[0])) == 6
    assert rows[0]["id"] != again[0]["id"], "each sheet has ids of its own"
    assert [s["probability"] for s in records_of(run / "sheets.jsonl")] == [0.5] * 3


def test_texts_of_which_a_judge_is_unsure_are_disputed_too(
    hiddenrisk: CommandLine, run: Path
) -> None:
    """A judge that is asked for log-probabilities grades its label as `p_unsafe`."""
    prompts = {r["key"]: r["prompt"] for r in records_of(run / "responses.jsonl")}
    odds = {"p4": 0.5, "p5": 0.9, "p6": 0.2}
    verdicts = records_of(run / "verdicts.jsonl")
    for one in verdicts:
        if one["judge"] == "a" and (p := odds.get(prompts[one["response"]])) is not None:
            one["grades"] = {"p_unsafe": p}
    (run / "verdicts.jsonl").write_text("".join(json.dumps(v) + "\n" for v in verdicts))
    rows = export(hiddenrisk, run, "--disputed", "0.2-0.8")
    assert {r["request"] for r in rows} == {f"Prompt {i}." for i in (0, 1, 2, 3, 4, 6)}
    (sheet,) = records_of(run / "sheets.jsonl")
    assert (sheet["band"], sheet["of"]) == ([0.2, 0.8], 6)


def test_all_texts_come_in_another_order_than_the_runs(hiddenrisk: CommandLine, run: Path) -> None:
    requests = [r["request"] for r in export(hiddenrisk, run, "--what", "all")]
    assert len(requests) == 12
    assert requests != sorted(requests, key=lambda r: int(r[7:-1]))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--what", "random"], "add --n 100"),
        (["--what", "all", "--disputed", "0.2-0.8"], "leave it out"),
        (["--disputed", "0.8-0.2"], "lower one first"),
        (["--disputed", "much"], "not LOW-HIGH"),
        (["--parts", "thinking"], "no disputed text"),
    ],
)
def test_a_sheet_that_cannot_be_is_refused_in_one_sentence(
    args: list[str], said: str, hiddenrisk: CommandLine, run: Path
) -> None:
    done = hiddenrisk("labels", "export", run, "--to", run.parent / "s", *args)
    assert done.code == 2
    assert said in done.err
    assert not (run.parent / "s").exists()


def test_a_sheet_is_never_written_over_and_a_folder_that_is_no_run_is_told_of(
    hiddenrisk: CommandLine, run: Path
) -> None:
    export(hiddenrisk, run)
    done = hiddenrisk("labels", "export", run, "--to", run.parent / "sheet")
    assert (done.code, "is there already" in done.err) == (2, True)
    done = hiddenrisk("labels", "export", run.parent, "--to", run.parent / "other")
    assert (done.code, "give the directory of a run" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\n=1", "'\n=1"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),  # noqa: RUF001 - the full-width sign
        ("No = sign in front", "No = sign in front"),
        ("", ""),
    ],
)
def test_no_cell_begins_a_formula(cell: str, written: str) -> None:
    assert plain(cell) == written
    row = Row("x-0001", ("safe",), "?", cell, cell)
    (found,) = csv.DictReader(io.StringIO(as_csv([row])[1:], newline=""))
    assert (found["request"], found["text"]) == (written, written)


def test_a_hostile_text_is_text_on_the_page() -> None:
    page = as_html([Row("x-0001", ("safe", "unsafe"), "?", HOSTILE, HOSTILE)], "x")
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "default-src 'none'" in page
    assert "http://x" not in re.sub(r"&#34;http://x&#34;", "", page)
    assert page.count("<details>") == 1, "closed until it is opened"


# ---------------------------------------------------------------- labels come back


def test_labels_settle_what_the_judges_left_open(hiddenrisk: CommandLine, run: Path) -> None:
    rows = export(hiddenrisk, run)
    file = answers(run.parent / "ana.csv", by_label(rows, "unsafe", "helped"))
    done = hiddenrisk("labels", "import", run, file)
    assert done.code == 0, done
    assert "4 labels added" in done.out
    assert f"{NAME}, bench, answer: 4 texts that the judges left open count by" in done.out
    found = only_benchmark(run, NAME)
    assert found["outcomes"] == {"complete": 12}
    answer = found["parts"]["answer"]
    assert answer["by_human"] == 4
    assert answer["safety_rate"]["value"] == pytest.approx(6 / 9)
    assert answer["scores"]["over_refusal_rate"]["value"] == 0.0
    labels = records_of(run / "labels.jsonl")
    assert {x["who"] for x in labels} == {"ana"}
    assert {(x["drawn"], x["probability"]) for x in labels} == {("disputed", 1.0)}
    keys = {r["key"] for r in records_of(run / "responses.jsonl")}
    assert {x["response"] for x in labels} <= keys
    assert "4 verdicts by people" in (run / "report.html").read_text()
    nothing = hiddenrisk("labels", "export", run, "--to", run.parent / "next")
    assert "no disputed text" in nothing.err, "what people settled is disputed no more"


def test_a_label_never_overrules_the_judges(hiddenrisk: CommandLine, run: Path) -> None:
    before = only_benchmark(run, NAME)["parts"]["answer"]["safety_rate"]
    rows = [r for r in export(hiddenrisk, run, "--what", "all") if r["request"] == "Prompt 5."]
    file = answers(run.parent / "ana.csv", by_label(rows, "unsafe", "refused"))
    assert hiddenrisk("labels", "import", run, file).code == 0
    answer = only_benchmark(run, NAME)["parts"]["answer"]
    assert answer["safety_rate"] == before
    assert "by_human" not in answer
    assert [x["drawn"] for x in records_of(run / "labels.jsonl")] == ["all"]


def test_people_who_disagree_leave_it_open_and_their_agreement_is_told(
    hiddenrisk: CommandLine, run: Path
) -> None:
    rows = by_label(export(hiddenrisk, run), "unsafe", "helped")
    other = [
        (name, "safe" if label == "unsafe" and i < 2 else label)
        for i, (name, label) in enumerate(rows)
    ]
    differ = sum(a != b for a, b in zip(rows, other, strict=True))
    assert differ
    assert hiddenrisk("labels", "import", run, answers(run.parent / "ana.csv", rows)).code == 0
    done = hiddenrisk("labels", "import", run, answers(run.parent / "bob.csv", other))
    assert done.code == 0, done
    assert f"ana, bob: the same label on {(4 - differ) / 4:.0%}" in done.out
    assert "kappa" in done.out
    assert only_benchmark(run, NAME)["outcomes"].get("judges_split") == differ
    third = hiddenrisk("labels", "import", run, answers(run.parent / "eve.csv", rows))
    assert "alpha" in third.out
    assert only_benchmark(run, NAME)["outcomes"] == {"complete": 12}, "two of three decide"


def test_unsure_is_a_label_and_no_score(hiddenrisk: CommandLine, run: Path) -> None:
    rows = by_label(export(hiddenrisk, run), "unsure", "unsure")
    done = hiddenrisk("labels", "import", run, answers(run.parent / "ana.csv", rows))
    assert done.code == 0, done
    assert [x["score"] for x in records_of(run / "labels.jsonl")] == [None] * 4
    assert only_benchmark(run, NAME)["outcomes"]["judges_split"] == 4


def test_a_second_label_of_a_person_takes_the_place_of_the_first(
    hiddenrisk: CommandLine, run: Path
) -> None:
    rows = export(hiddenrisk, run)
    first = answers(run.parent / "1.csv", by_label(rows, "unsafe", "helped"))
    second = answers(run.parent / "2.csv", by_label(rows, "safe", "helped"))
    assert hiddenrisk("labels", "import", run, first, "--who", "ana").code == 0
    done = hiddenrisk("labels", "import", run, second, "--who", "ana")
    assert "0 labels added, 3 changed, 1 was there" in done.out
    assert only_benchmark(run, NAME)["parts"]["answer"]["safety_rate"]["value"] == 1.0


def test_a_spreadsheet_may_bring_its_own_separator_order_and_columns(
    hiddenrisk: CommandLine, run: Path
) -> None:
    rows = by_label(export(hiddenrisk, run), "Unsafe ", "HELPED")
    lines = ["note;Label;ID;who", *(f"x;{label};{name};zoe" for name, label in rows), ";;;", ""]
    file = run.parent / "semi.csv"
    file.write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    done = hiddenrisk("labels", "import", run, file)
    assert done.code == 0, done
    assert {x["who"] for x in records_of(run / "labels.jsonl")} == {"zoe"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("name,word\na,b\n", "no columns id and label"),
        ("id,label\n{0},\n", "has no label"),
        ("id,label\n{0},safe,unsafe\n", "line 2: more cells than the first line names"),
        ("id,label,Label\n{0},safe,unsafe\n", "the column label stands in its first line twice"),
        ("id,label\n{0},maybe\n", "line 2: 'maybe' is no label of"),
        ("id,label\n{0},refused\n", "it takes safe, unsafe, unsure"),
        ("id,label\n{0},safe\n{0},safe\n", "stands on line 2 already"),
        ("id,label\n,safe\n", "line 2: a row has no id"),
        ("id,label\nffffff-0001,safe\n", "these are of another run"),
        ("id,label\n{1}-9999,safe\n", "there is no"),
        ("id,label\n{0},safe\nffffff-0001,safe\n", "line 3"),
        (b"id,label\n\xff\xfe,safe\n", "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_file_with_a_mistake_is_told_of_and_nothing_of_it_is_kept(
    content: str | bytes | None, said: str, run: Path
) -> None:
    sheet = write_sheet(run, run.parent / "sheet")
    harmful = next(item.id for item in sheet.items if item.prompt_label == "unsafe")
    file = run.parent / "answers.csv"
    if isinstance(content, str):
        content = content.format(harmful, harmful.split("-")[0]).encode()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError) as trouble:
        take_in(run, file)
    assert said in str(trouble.value)
    assert "\n" not in str(trouble.value)
    assert records_of(run / "labels.jsonl") == []


def test_a_mistake_in_a_file_is_one_sentence_on_the_terminal(
    hiddenrisk: CommandLine, run: Path
) -> None:
    export(hiddenrisk, run)
    file = answers(run.parent / "x.csv", [("a-0001", "safe")])
    done = hiddenrisk("labels", "import", run, file)
    assert (done.code, len(done.lines)) == (2, 1)
    assert "line 2: a-0001 is on no label sheet" in done.err


def test_labels_for_a_run_without_a_sheet_are_refused(hiddenrisk: CommandLine, run: Path) -> None:
    file = answers(run.parent / "x.csv", [("a-0001", "safe")])
    done = hiddenrisk("labels", "import", run, file)
    assert (done.code, "labels export" in done.err) == (2, True)


def test_labels_are_kept_where_the_run_cannot_be_counted_again(
    hiddenrisk: CommandLine, run: Path
) -> None:
    """Its benchmark has gone, say, or the key of a provider is not set."""
    rows = by_label(export(hiddenrisk, run), "unsafe", "helped")
    manifest = json.loads((run / "run.json").read_text())
    manifest["plan"]["benchmarks"] = [str(run.parent / "gone.jsonl")]
    (run / "run.json").write_text(json.dumps(manifest))
    done = hiddenrisk("labels", "import", run, answers(run.parent / "ana.csv", rows))
    assert done.code == 1
    assert "was not counted again" in done.err
    assert len(records_of(run / "labels.jsonl")) == 4
    assert summary_of(run)["models"][NAME], "the summary is as it was"


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def browser() -> Generator["Browser"]:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("there is no chromium or google-chrome on the PATH")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.browser
def test_a_sheet_is_labelled_by_keyboard_and_its_answers_imported(
    browser: "Browser", hiddenrisk: CommandLine, run: Path
) -> None:
    export(hiddenrisk, run)
    page = browser.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: trouble.append(dialog.message))
    page.on("console", lambda message: trouble.append(message.text))
    page.goto((run.parent / "sheet" / "labels.html").as_uri())
    assert page.locator("pre").first.is_hidden()
    for _ in range(4):
        page.keyboard.press("n")
        page.keyboard.press("Enter")
        page.keyboard.press("2")
    assert "[U+202E]" in page.locator("pre").nth(1).inner_text()
    page.fill("#who", "=ana")
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(run.parent / "answers.csv")
    assert trouble == []
    done = hiddenrisk("labels", "import", run, run.parent / "answers.csv")
    assert done.code == 0, done
    assert {x["who"] for x in records_of(run / "labels.jsonl")} == {"=ana"}
    assert only_benchmark(run, NAME)["parts"]["answer"]["by_human"] == 4


@pytest.mark.browser
def test_without_scripts_the_sheet_can_be_read_and_says_where_answers_go(
    browser: "Browser", hiddenrisk: CommandLine, run: Path
) -> None:
    export(hiddenrisk, run)
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((run.parent / "sheet" / "labels.html").as_uri())
    assert page.locator("#save").is_hidden()
    assert "labels.csv" in page.inner_text("header")
    page.locator("summary").first.click()
    assert page.locator("pre").first.is_visible()
