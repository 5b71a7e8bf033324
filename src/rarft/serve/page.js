// The page of `rarft serve`. Everything comes from this server; text goes in as text, never as HTML.
(function () {
  "use strict";
  function at(id) { return document.getElementById(id); }
  var server = { model: "rarft", untuned: null, min: null }, run = null, chosen = null, added = null;

  function make(tag, className, text) {
    var node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function tell(id, text, bad) {
    at(id).textContent = text;
    at(id).classList.toggle("bad", Boolean(bad));
  }
  async function ask(path, body, signal, method) {
    var reply = await fetch(path, {
      method: method || "POST", signal: signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body)
    });
    if (!reply.ok) {
      var told = await reply.json().catch(function () { return null; });
      throw new Error(told && told.error ? told.error.message : "the server answered " + reply.status);
    }
    return reply;
  }
  function number(id, otherwise) {
    var value = Number(at(id).value);
    return at(id).value !== "" && isFinite(value) ? value : otherwise;
  }

  // What the server has

  async function introduce() {
    try {
      var model = (await (await fetch("/v1/models")).json()).data[0], about = model.rarft;
      server = { model: model.id, untuned: about.untuned, min: about.min_score };
      at("name").textContent = model.id;
      document.title = model.id + " - rarft";
      tell("about", about.n_traces.toLocaleString("en") + " worked examples, " + about.search + " search, " +
        (about.min_score === null ? "no minimum score" : "none shown below a score of " + about.min_score.toFixed(3)));
      at("untuned-title").textContent = "Untuned retriever" + (about.untuned ? " (" + about.untuned.split("/").pop() + ")" : "");
      at("tokens").value = String(Math.min(256, about.max_new_tokens));
    } catch (error) {
      tell("about", "The server does not answer: " + error.message, true);
    }
  }

  // Worked examples

  function card(trace, rank, best) {
    var item = make("li", "card"), top = make("div", "top"), meter = make("meter");
    item.dataset.id = trace.id;
    meter.min = 0; meter.max = Math.max(1, best); meter.value = Math.max(0, trace.score);
    meter.setAttribute("aria-hidden", "true");
    top.append(make("span", "", "#" + rank), make("span", "score", trace.score.toFixed(3)), meter, make("span", "id", trace.id));
    var more = make("details"), solution = make("div", "text", trace.solution);
    solution.tabIndex = 0;
    more.append(make("summary", "", "Its solution"), solution);
    var use = make("button", "", "Ask with this one");
    use.type = "button";
    use.setAttribute("aria-label", "Ask with example " + trace.id);
    use.addEventListener("click", function () {
      answer(trace.id);
      at("answers").scrollIntoView({ block: "start" });
    });
    item.append(top, make("p", "", trace.problem), more, use);
    return item;
  }
  async function show(list, retriever, problem, signal) {
    var reply = await ask("/v1/retrieve", { queries: [problem], top_k: number("shown", 4), retriever: retriever }, signal);
    var found = (await reply.json()).data[0];
    var best = found.traces.length ? found.traces[0].score : 0;
    list.replaceChildren.apply(list, found.traces.map(function (trace, i) { return card(trace, i + 1, best); }));
    if (!found.traces.length) list.append(make("li", "faint", "Nothing found."));
    if (found.blocked) {
      list.append(make("li", "faint", found.blocked + " kept back: the same problem, whose solution would give the answer away."));
    }
    return found.traces;
  }
  function mark(id) {
    document.querySelectorAll(".card").forEach(function (item) {
      var ours = item.dataset.id === id;
      item.classList.toggle("chosen", ours);
      item.querySelector("button").setAttribute("aria-pressed", String(ours));
    });
  }
  async function find(problem, signal) {
    at("found").hidden = false;
    var jobs = [show(at("trained"), "trained", problem, signal)];
    if (server.untuned) jobs.push(show(at("untuned"), "untuned", problem, signal));
    else at("untuned").replaceChildren(make("li", "faint", "This bundle has none; `rarft bundle --untuned` puts one in."));
    return (await Promise.all(jobs))[0];
  }

  // Answers

  async function stream(name, body, signal) {
    var box = at(name), count = 0, context = null;
    box.textContent = "";
    box.classList.add("running");
    tell(name + "-about", "waiting");
    try {
      var reply = await ask("/v1/chat/completions", body, signal);
      var reader = reply.body.getReader(), decoder = new TextDecoder(), rest = "", usage = null;
      for (;;) {
        var piece = await reader.read();
        if (piece.done) break;
        rest += decoder.decode(piece.value, { stream: true });
        var lines = rest.split("\n");
        rest = lines.pop();
        lines.forEach(function (line) {
          if (line.slice(0, 6) !== "data: " || line === "data: [DONE]") return;
          var event = JSON.parse(line.slice(6));
          if (event.error) throw new Error(event.error.message);
          usage = event.usage || usage;
          event.choices.forEach(function (choice) {
            context = choice.delta.context || context;
            if (choice.delta.content) { box.append(choice.delta.content); count += 1; }
          });
          tell(name + "-about", about(context) + (usage ? ", " + usage.prompt_tokens + " tokens in, " + usage.completion_tokens + " out" : ""));
        });
        box.scrollTop = box.scrollHeight;
      }
      if (!count) box.textContent = "(an empty answer)";
    } catch (error) {
      tell(name + "-about", error.name === "AbortError" ? "stopped" : error.message, error.name !== "AbortError");
    } finally {
      box.classList.remove("running");
    }
  }
  function about(context) {
    if (!context || context.retrieval === "off") return "the bare problem";
    if (context.retrieval === "below_min_score") {
      return "the best score, " + context.best_score.toFixed(3) + ", is below the minimum, so no example is shown";
    }
    if (!context.citations.length) return "no example found";
    return context.citations.map(function (one) { return one.id; }).join(", ");
  }
  async function prompt(body, signal) {
    var told = await (await ask("/v1/prompt", body, signal)).json();
    at("prompt").textContent = told.prompt;
    at("prompt-about").textContent = "(" + told.prompt_token_ids.length + " tokens)";
    var first = told.context.citations[0];
    mark(first ? first.id : null);
  }
  async function answer(id) {
    if (run) run.abort();
    var ours = run = new AbortController();
    chosen = id;
    at("stop").disabled = false;
    at("answers").hidden = false;
    var problem = [{ role: "user", content: at("problem").value }], rarft = id ? { trace_ids: [id] } : {};
    var common = {
      messages: problem, stream: true, stream_options: { include_usage: true },
      temperature: number("temperature", 1), max_tokens: number("tokens", 256)
    };
    tell("status", id ? "Answering with " + id + "." : "Answering.");
    try {
      await Promise.all([
        prompt({ model: server.model, messages: problem, rarft: rarft }, ours.signal),
        stream("with", Object.assign({ model: server.model, rarft: rarft }, common), ours.signal),
        stream("without", Object.assign({ model: server.model + "-bare" }, common), ours.signal)
      ]);
      tell("status", ours.signal.aborted ? "Stopped." : "Done.");
    } catch (error) {
      if (error.name !== "AbortError") tell("status", error.message, true);
    }
    if (run === ours) { run = null; at("stop").disabled = true; }
  }
  async function start() {
    var problem = at("problem").value;
    if (!problem.trim()) { at("problem").focus(); tell("status", "Type a problem first.", true); return; }
    if (run) run.abort();
    tell("status", "Searching.");
    try {
      await find(problem, undefined);
      await answer(null);
    } catch (error) {
      tell("status", error.message, true);
    }
  }

  // Teaching

  async function teach() {
    var trace = { problem: at("new-problem").value, solution: at("new-solution").value };
    if (at("new-answer").value) trace.answer = at("new-answer").value;
    try {
      added = (await (await ask("/v1/traces", { traces: [trace] })).json()).added[0];
      at("undo").hidden = false;
      tell("teach-status", "Added as " + added + ".");
      await introduce();
      if (!at("problem").value.trim()) return;
      var rank = (await find(at("problem").value)).findIndex(function (one) { return one.id === added; });
      mark(chosen);
      tell("teach-status", "Added as " + added + (rank >= 0 ? "; for the problem above it is now number " + (rank + 1) + "." :
        "; for the problem above others come first."));
    } catch (error) {
      tell("teach-status", error.message, true);
    }
  }
  async function undo() {
    try {
      await ask("/v1/traces", { ids: [added] }, undefined, "DELETE");
      tell("teach-status", added + " is taken out.");
      at("undo").hidden = true;
      await introduce();
      if (at("problem").value.trim()) await find(at("problem").value);
    } catch (error) {
      tell("teach-status", error.message, true);
    }
  }

  at("ask").addEventListener("submit", function (event) { event.preventDefault(); start(); });
  at("problem").addEventListener("keydown", function (event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); start(); }
  });
  at("stop").addEventListener("click", function () { if (run) run.abort(); });
  at("teach").addEventListener("submit", function (event) { event.preventDefault(); teach(); });
  at("undo").addEventListener("click", undo);
  introduce();
})();
