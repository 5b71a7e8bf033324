// Sorting of tables and filtering of problems. The page is whole without it.
(function () {
  "use strict";
  function value(row, column) {
    var cell = row.cells[column];
    var given = cell.getAttribute("data-value");
    var text = given === null ? cell.textContent.trim() : given;
    return { text: text, number: text === "" ? NaN : Number(text) };
  }
  function compare(a, b, sign) {
    var aEmpty = a.text === "", bEmpty = b.text === "";
    if (aEmpty || bEmpty) return aEmpty - bEmpty;
    if (!isNaN(a.number) && !isNaN(b.number)) return sign * (a.number - b.number);
    return sign * a.text.localeCompare(b.text, undefined, { numeric: true });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    table.querySelectorAll("thead th").forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      while (head.firstChild) button.appendChild(head.firstChild);
      head.appendChild(button);
      button.addEventListener("click", function () {
        var up = head.getAttribute("aria-sort") === "descending" ||
          (head.getAttribute("aria-sort") === null && column === 0);
        table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        var body = table.tBodies[0];
        Array.from(body.rows)
          .map(function (row) { return { row: row, key: value(row, column) }; })
          .sort(function (a, b) { return compare(a.key, b.key, up ? 1 : -1); })
          .forEach(function (entry) { body.appendChild(entry.row); });
      });
    });
  });
  var words = document.getElementById("words"), which = document.getElementById("which");
  var count = document.getElementById("count");
  if (!words) return;
  var problems = Array.from(document.querySelectorAll("details.problem"));
  function filter() {
    var wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
    problems.forEach(function (problem) {
      var tags = problem.getAttribute("data-tags").split(" ");
      var text = problem.textContent.toLowerCase();
      var keep = (which.value === "" || tags.indexOf(which.value) >= 0) &&
        wanted.every(function (word) { return text.indexOf(word) >= 0; });
      problem.hidden = !keep;
      shown += keep;
    });
    count.textContent = shown + " of " + problems.length + " problems";
  }
  words.addEventListener("input", filter);
  which.addEventListener("change", filter);
  filter();
})();
