"""The page in a browser: what is drawn, what its switches do, and that it asks nobody for anything."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess

import pytest

from warmup_jax.report.__main__ import main

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open the page in"),
]
RATES, ROWS = (
    (0.1, 0.2, 0.4),
    {(0, 0): "tsd", (0, 1): "tdd", (4, 0): "ttd", (4, 1): "ttd", (8, 0): "ttt", (8, 1): "ttt"},
)
# Collects errors before the page starts, and writes what `look` finds into the page when it has started.
DRIVER = """
const errors = [];
addEventListener("error", (event) => errors.push(String(event.message)));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => errors.push(event.violatedDirective + " " + event.blockedURI));
const wait = (ms = 100) => new Promise((done) => setTimeout(done, ms));
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const drawn = () => all(".curves .plot").filter((div) => div.data);
const ids = (div) => [...new Set(div.data.map((trace) => trace.meta.id).filter((id) => id !== null))].sort();
const until = async (done) => { for (let turn = 0; turn < 200 && !done(); turn += 1) await wait(); };
async function begin() {
  await until(() => all(".plot").length && all(".plot").every((div) => div.data));
  const found = await look().catch((error) => ({ failed: String(error.stack) }));
  found.errors = errors;
  found.asked = performance.getEntriesByType("resource").map((entry) => entry.name);
  const place = Object.assign(document.createElement("pre"), { id: "findings", textContent: JSON.stringify(found) });
  document.body.append(place);
}
addEventListener("DOMContentLoaded", begin);
"""


@pytest.fixture
def browse(tmp_path):
    """Opens the report of workdirs in a browser and runs a script in it; returns what the script found."""

    def open_page(script, *workdirs, size="1400,9000"):
        out = tmp_path / "page.html"
        assert main([*map(str, workdirs), f"--out={out}"]) == 0
        code = f"{DRIVER}\nasync function look() {{ {script} }}"
        allowed = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        page = out.read_text(encoding="utf-8")
        assert page.count("script-src 'sha256-") == 1 and page.count("<title>") == 1
        page = page.replace("script-src 'sha256-", f"script-src 'sha256-{allowed}' 'sha256-")
        out.write_text(page.replace("<title>", f"<script>{code}</script><title>"), encoding="utf-8")
        answer = subprocess.run(
            [
                CHROMIUM,
                *(
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--enable-logging=stderr",
                    "--virtual-time-budget=60000",
                ),
                *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size}", "--dump-dom", out.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        said = [line for line in answer.stderr.splitlines() if "CONSOLE" in line]
        assert said == []
        found = re.search(r'<pre id="findings">(.*?)</pre>', answer.stdout, re.DOTALL)
        assert found, answer.stderr[-2000:]
        findings = json.loads(html.unescape(found[1]))
        assert findings.pop("errors") == [] and findings.pop("asked") == [] and "failed" not in findings, findings
        return findings

    return open_page


def test_every_panel_is_drawn_and_a_group_goes_off_in_all_of_them(write, browse):
    more = lambda *_: {10: {"diag/sharpness": 5.0, "opt/grad_norm": 1.0}, 20: {"diag/sharpness": 3.0}}
    runs = [({"warmup_steps": warmup, "seed": seed}, "trained") for warmup in (0, 4) for seed in range(3)]
    found = browse(
        """
        const before = drawn().map(ids);
        const kinds = drawn()[0].data.map((trace) => trace.meta.kind);
        const lines = drawn().map((div) => all(".scatterlayer .trace", div).length);
        const [first] = all(".legend button");
        const name = first.textContent;
        first.click();
        await wait(500);
        const off = drawn().map(ids);
        all(".legend button")[0].click();
        all(".controls button").find((button) => button.textContent === "single seeds").click();
        await wait(500);
        const singles = drawn()[0].data.map((trace) => trace.meta.kind);
        const on = drawn().map(ids);
        const metrics = all(".panel").map((panel) => panel.dataset.metric);
        return { before, kinds, lines, name, off, singles, on, metrics };
        """,
        write(runs, more=more),
    )
    panels = len(found["metrics"])
    assert found["metrics"][:2] == ["train/loss", "opt/learning_rate"] and "diag/sharpness" in found["metrics"]
    assert found["before"] == [[0, 1]] * panels and found["off"] == [[1]] * panels and found["on"] == found["before"]
    assert found["name"] == "no warmup" and all(found["lines"])
    assert found["kinds"] == ["band", "median", "band", "median", "diverged"]
    assert found["singles"] == ["run"] * 6 + ["diverged"]


def test_a_click_on_a_cell_shows_its_runs(write_sweep, browse):
    found = browse(
        """
        const map = document.querySelector(".phase .plot");
        const layer = map.querySelector(".nsewdrag").getBoundingClientRect();
        const place = { clientX: layer.left + layer.width / 6, clientY: layer.top + layer.height / 6, bubbles: true };
        const target = map.querySelector(".nsewdrag");
        for (const name of ["mousemove", "mousedown", "mouseup"]) {
          target.dispatchEvent(new MouseEvent(name, { ...place, view: window }));
          await wait(200);
        }
        await until(() => all(".cell .plot").length && all(".cell .plot").every((div) => div.data));
        return {
          title: document.querySelector(".cell h4").textContent,
          rows: all(".cell tbody tr").map((row) => row.textContent),
          metrics: all(".cell .panel").map((panel) => panel.dataset.metric),
          ids: all(".cell .plot").map(ids),
          outlined: map.layout.shapes.length,
        };
        """,
        write_sweep(RATES, ROWS),
    )
    assert found["title"] == "peak rate 0.1, warmup 8" and found["outlined"] == 1
    assert [row[:10] for row in found["rows"]] == ["run 120tra", "run 151tra"]
    assert found["metrics"] == ["train/loss", "opt/learning_rate"] and found["ids"] == [[12, 15], [12, 15]]


def test_a_diverged_run_does_not_flatten_the_others(write, browse):
    found = browse(
        """
        const [loss] = drawn();
        const range = loss.layout.yaxis.range.map((end) => (loss.layout.yaxis.type === "log" ? 10 ** end : end));
        const crosses = loss.data.find((trace) => trace.meta.kind === "diverged");
        return { range, at: crosses.x };
        """,
        write([({"warmup_steps": 0}, "diverged"), ({"warmup_steps": 50}, "trained")]),
    )
    low, high = found["range"]
    assert 0.1 < low < 0.4 and 2.5 < high < 10, "the loss of 1e30 is outside"
    assert found["at"] == [11]


def test_values_switch_many_groups_and_a_zoom_goes_to_all_panels(write_sweep, browse):
    found = browse(
        """
        const press = (text) => all(".controls button").find((button) => button.textContent === text).click();
        press("0.2");
        await wait(300);
        const rate = ids(drawn()[0]);
        press("8");
        await wait(300);
        const cell = ids(drawn()[0]);
        press("all");
        await wait(300);
        const every = ids(drawn()[0]).length;
        await Plotly.relayout(drawn()[0], { "xaxis.range[0]": 1, "xaxis.range[1]": 10 });
        await wait(300);
        return { rate, cell, every, ranges: drawn().map((div) => div.layout.xaxis.range) };
        """,
        write_sweep(RATES, ROWS),
    )
    assert found["rate"] == [2, 4, 7] or len(found["rate"]) == 3
    assert len(found["cell"]) == 1 and set(found["cell"]) < set(found["rate"]) and found["every"] == 9
    assert all(range == [1, 10] for range in found["ranges"])


def test_a_table_is_sorted_by_a_click(write, browse):
    found = browse(
        """
        const table = document.querySelector("table.sortable");
        const column = [...table.querySelectorAll("th")].findIndex((title) => title.textContent === "train loss");
        const losses = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
        const press = () => all("th button", table)[column].click();
        const before = losses();
        press();
        const rising = losses();
        press();
        return { before, rising, falling: losses() };
        """,
        write([({"warmup_steps": 0}, "stuck"), ({"warmup_steps": 4}, "trained"), ({"warmup_steps": 8}, "stuck")]),
    )
    assert found == {"before": ["2.4", "0.4", "2.4"], "rising": ["0.4", "2.4", "2.4"], "falling": ["2.4", "2.4", "0.4"]}


def test_hostile_text_is_drawn_as_text(write, browse):
    hostile = (
        "<img src=x onerror=errors.push(1)><a href='https://x.invalid'>x</a></script><script>errors.push(2)</script>"
    )
    found = browse(
        """
        return {
          legend: document.querySelector(".legend button").textContent,
          titles: all(".panel h4").map((title) => title.textContent),
          axes: all(".ytitle").map((title) => title.textContent),
          anchors: all("svg a").length,
          links: all("a").map((link) => link.getAttribute("href") || "#").filter((target) => !target.startsWith("#")),
          images: all("img").length,
        };
        """,
        write(
            [({"name": hostile}, "trained"), ({"name": "b"}, "diverged")],
            more=lambda *_: {1: {f"diag/{hostile.replace('/', '')}": 1.0}},
        ),
    )
    assert hostile in found["legend"] and found["links"] == [] and found["images"] == 0
    assert any("<img src=x" in title for title in found["titles"])
    assert any("<img src=x" in title for title in found["axes"]) and found["anchors"] == 0


def test_several_experiments_have_their_own_panels(write, browse):
    one, two = (
        write([({"warmup_steps": 0}, "trained")], name, config={"model": {"name": name}}) for name in ("fcn", "resnet")
    )
    found = browse(
        """
        return {
          sections: all("h2").map((title) => title.textContent),
          losses: all(".panel[data-metric='train/loss'] .plot").map(ids),
        };
        """,
        one,
        two,
    )
    assert found["losses"] == [[0], [0]] and [title.split()[0] for title in found["sections"]] == ["Fully", "ResNet"]
