#!/usr/bin/env node
// A worker: froe run --pool ... -- ./worker.js
const { once } = require('events')
const { stdin, stdout } = process

async function handle (job, body) {
  console.error(job.bucket, job.key, body.length) // your code; throws when it failed
}

async function read (n) { // n bytes; without a number as many as there are
  let data
  while (n !== 0 && (data = stdin.read(n)) === null) await once(stdin, 'readable')
  return data || Buffer.alloc(0)
}

async function main () {
  for (let line = Buffer.alloc(0); ;) {
    const data = await read(), end = data.indexOf('\n')
    line = Buffer.concat([line, end < 0 ? data : data.subarray(0, end)])
    if (end < 0) continue
    stdin.unshift(data.subarray(end + 1))
    const job = JSON.parse(line), body = await read(job.body_bytes)
    line = Buffer.alloc(0)
    const answer = await handle(job, body).then(() => ({ status: 'ok' }), error => ({ status: 'fail', reason: String(error) }))
    stdout.write(JSON.stringify({ id: job.id, ...answer }) + '\n')
  }
}

main()
