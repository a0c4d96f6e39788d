// Hostile names, foreign pages, and who is asked for anything.

import assert from "node:assert/strict";
import http from "node:http";
import path from "node:path";
import { test } from "node:test";

import { address, browser, FIXTURE, folder, model, open, plan, reaches, studio, visit } from "./harness.js";

const EVIL = "<img src=x onerror=document.title='owned'>\u202egnp.\u0007<script>document.title='owned'</script>";

test("a hostile name is text", async (t) => {
  const file = model(path.join(folder(t), "<b>evil<b>.safetensors"), { [`${EVIL}.weight`]: [32, 32], "plain.weight": [32, 32] });
  const where = await studio(t);
  const page = await open(t, where);
  await plan(page, { input: file });
  assert.equal(await page.locator("main img, main script, main b").count(), 0);
  assert.match(await page.textContent("table.kinds"), /<img src=x onerror=.*\\u\{202e\}gnp.*\\u\{7\}<script>/);
  await page.getByLabel("all tensors").check();
  await page.waitForSelector(".long .block");
  const { body } = await where.ask("POST", "/api/jobs", { kind: "convert", input: file, recipe: {}, run: {}, starts: true });
  await reaches(where, body.id, ["done"]);
  for (const hash
         of [address("job", { id: body.id }), address("report", { job: body.id }), "#/queue", address("check", { input: file })]) {
    await visit(page, hash);
    await page.waitForTimeout(500);
    assert.equal(await page.locator("main img, main script, main b").count(), 0, hash);
  }
  assert.doesNotMatch(await page.title(), /owned/);
});

test("the key leaves the address at once, and without it nothing is shown", async (t) => {
  const where = await studio(t);
  const page = await open(t, where);
  assert.doesNotMatch(page.url(), /key/);
  const stranger = await page.context().browser().newContext();
  const other = await stranger.newPage();
  await other.goto(where.origin);
  await other.waitForSelector("h1");
  assert.match(await other.textContent("main"), /needs its key/);
});

test("a link with a wrong key leaves the good one alone, and a pasted address opens the page", async (t) => {
  const where = await studio(t);
  const page = await open(t, where);
  const other = await page.context().newPage();
  for (const link of ["#key=0123", "#once=0123"]) {
    await other.goto("about:blank");
    await other.goto(`${where.origin}/${link}`);
    await other.waitForSelector(".folder .bar");
    assert.doesNotMatch(other.url(), /0123/);
  }
  // A tab that has no key, as after a restart of the server.
  await other.evaluate(() => localStorage.clear());
  await other.reload();
  await other.getByText("This page needs its key").waitFor();
  await other.goto(where.address);
  await other.waitForSelector(".folder .bar");
});

test("no request leaves 127.0.0.1", async (t) => {
  const where = await studio(t);
  const asked = new Set();
  const page = await open(t, where);
  page.on("request", (request) => asked.add(new URL(request.url()).origin));
  await plan(page, { input: FIXTURE });
  for (const hash of ["#/open", "#/queue", "#/report", address("check", { input: FIXTURE }), "#/statistics"]) {
    await visit(page, hash);
    await page.waitForTimeout(300);
  }
  assert.deepEqual([...asked], [where.origin]);
});

test("a foreign page gets nothing", async (t) => {
  const where = await studio(t);
  const site = http.createServer(
    (_, answer) => answer.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>foreign</title>"));
  await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
  t.after(() => site.close());
  const foreign = await browser(t, { args: ["--host-resolver-rules=MAP evil.test 127.0.0.1"] });
  const page = await foreign.newPage();
  await page.goto(`http://evil.test:${site.address().port}/`);
  const outcome = await page.evaluate(async (origin) => {
    const tried = async (work) => {
      try {
        return await work();
      } catch {
        return "refused";
      }
    };
    const loaded = (tag, attribute, url) =>
      new Promise((resolve) => {
        const made = document.createElement(tag);
        made.onload = () => resolve("loaded");
        made.onerror = () => resolve("refused");
        made[attribute] = url;
        document.body.append(made);
        setTimeout(() => resolve("nothing"), 2000);
      });
    const body = JSON.stringify({ kind: "convert", input: "/etc/hostname", recipe: {}, run: {} });
    return {
      read: await tried(async () => (await fetch(`${origin}/api/jobs`)).status),
      send: await tried(async () => (await fetch(`${origin}/api/jobs`, { method: "POST", body })).status),
      sendJson: await tried(
        async () =>
          (await fetch(`${origin}/api/jobs`, { method: "POST", body, headers: { "Content-Type": "application/json" } })).status),
      blind: await tried(async () => (await fetch(`${origin}/api/jobs`, { method: "POST", body, mode: "no-cors" })).type),
      page: await tried(async () => (await fetch(origin)).status),
      picture: await loaded("img", "src", `${origin}/icon.svg`),
      script: await loaded("script", "src", `${origin}/main.js`),
    };
  }, where.origin);
  assert.deepEqual({ ...outcome, blind: null },
    { read: "refused", send: "refused", sendJson: "refused", blind: null, page: "refused", picture: "refused", script: "refused" });
  // A frame shows no page of ours.
  await page.evaluate(
    (origin) => document.body.append(Object.assign(document.createElement("iframe"), { src: origin })), where.origin);
  await page.waitForTimeout(700);
  const frame = page.frames().find((candidate) => candidate !== page.mainFrame());
  assert.equal(await frame.evaluate(() => document.querySelector("main")).catch(() => null), null);
  // A form may be sent, but it is no JSON and has no key.
  await page.evaluate((origin) => {
    const form =
      Object.assign(document.createElement("form"), { method: "post", action: `${origin}/api/queue`, enctype: "text/plain" });
    form.append(Object.assign(document.createElement("input"), { name: '{"runs":true,"x":"', value: '"}' }));
    document.body.append(form);
    form.submit();
  }, where.origin);
  await page.waitForURL(`${where.origin}/api/queue`);
  // A name that was bound anew to this machine is not ours.
  const rebound = await page.goto(`http://evil.test:${where.port}/`);
  assert.equal(rebound.status(), 403);
  const { body } = await where.ask("GET", "/api/jobs");
  assert.deepEqual(body.jobs, []);
});
