// @ts-check
import assert from "node:assert/strict"
import process from "node:process"
import { test } from "node:test"

import { linksIn } from "../../static/js/intake/box.js"

/** A pasted text, and the links in it. @type {[string, string[]][]} */
const PASTED = [
  ["https://a.example/1", ["https://a.example/1"]],
  ["http://xhslink.com/a/Abc123，复制本条信息，打开【小红书】App", ["http://xhslink.com/a/Abc123"]],
  ["7.43 看看这个 https://v.douyin.com/iRNBho5/ 复制此链接，打开抖音！", ["https://v.douyin.com/iRNBho5/"]],
  ["【标题】https://b23.tv/abc。", ["https://b23.tv/abc"]],
  ["（https://b23.tv/abc）", ["https://b23.tv/abc"]],
  ["「https://b23.tv/abc」と『https://b23.tv/def』", ["https://b23.tv/abc", "https://b23.tv/def"]],
  ["https://b23.tv/abc　https://b23.tv/def", ["https://b23.tv/abc", "https://b23.tv/def"]],
  ["Look at https://a.example/1.", ["https://a.example/1"]],
  ["https://a.example/1, https://a.example/2; and https://a.example/3!?", [
    "https://a.example/1",
    "https://a.example/2",
    "https://a.example/3",
  ]],
  ["https://a.example/1,https://a.example/2", ["https://a.example/1", "https://a.example/2"]],
  ["'https://a.example/1','https://a.example/2'", ["https://a.example/1", "https://a.example/2"]],
  ["[https://a.example/1],[https://a.example/2]", ["https://a.example/1", "https://a.example/2"]],
  ["(https://a.example/1)", ["https://a.example/1"]],
  ["(see https://en.wikipedia.org/wiki/A_(b)).", ["https://en.wikipedia.org/wiki/A_(b)"]],
  ["https://en.wikipedia.org/wiki/A_(b)", ["https://en.wikipedia.org/wiki/A_(b)"]],
  ["[a video](https://a.example/1)", ["https://a.example/1"]],
  ["<https://a.example/1>", ["https://a.example/1"]],
  ['"https://a.example/1"', ["https://a.example/1"]],
  ["“https://a.example/1”", ["https://a.example/1"]],
  ["it's 'https://a.example/it's'", ["https://a.example/it's"]],
  ["http://[2001:db8::1]/1", ["http://[2001:db8::1]/1"]],
  ["https://a.example/1?a=1,2;b=(3)&c[]=4#t=1:02", ["https://a.example/1?a=1,2;b=(3)&c[]=4#t=1:02"]],
  ["https://archive.example/2020/https://a.example/1", ["https://archive.example/2020/https://a.example/1"]],
  ["HTTPS://A.EXAMPLE/1", ["HTTPS://A.EXAMPLE/1"]],
  ["https://a.example/視頻/々", ["https://a.example/視頻/々"]],
  ["https://a.example/1\u200b", ["https://a.example/1"]],
  ["https://a.example/1\r\n\r\n  https://a.example/2  \n", ["https://a.example/1", "https://a.example/2"]],
  ["no link\nhttps://a.example/1", ["no link", "https://a.example/1"]],
  ["https://", ["https://"]],
  ["https://...", ["https://..."]],
  ["ftp://a.example/1", ["ftp://a.example/1"]],
  ["", []],
  [" \n\t", []],
  ["www.a.example/1", ["https://www.a.example/1"]],
  ["see www.a.example, www.b.example/x.", ["https://www.a.example", "https://www.b.example/x"]],
  ["https://a.example/www.b.example", ["https://a.example/www.b.example"]],
  ["mail@www.a.example", ["mail@www.a.example"]],
  ["feed://pods.example/a.xml", ["http://pods.example/a.xml"]],
  ["Subscribe: itpc://pods.example/a.xml.", ["http://pods.example/a.xml"]],
  ["feed:https://pods.example/a.xml", ["https://pods.example/a.xml"]],
  ["newsfeed://pods.example/a.xml", ["newsfeed://pods.example/a.xml"]],
]

for (const [text, links] of PASTED) {
  test(`links in ${JSON.stringify(text)}`, () => assert.deepEqual(linksIn(text), links))
}

test("a very long line is read at once", () => {
  const before = process.cpuUsage() // Processor time: the time of day would include that of other processes.
  linksIn("https://a.example/" + ")".repeat(20_000) + " " + "(,".repeat(20_000))
  const { user, system } = process.cpuUsage(before) // both in microseconds
  assert.ok(user + system < 1_000_000)
})
