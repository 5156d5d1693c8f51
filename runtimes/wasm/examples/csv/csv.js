// CSV to JSON, by Papa Parse: a function in JavaScript for `interface wasi-http`. The first line has the names.

import Papa from 'papaparse';
import { Fields, IncomingBody, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.12';

const PIECE = 4096;

export const incomingHandler = {
  handle(request, out) {
    const { data, errors } = Papa.parse(read(request), { header: true, dynamicTyping: true, skipEmptyLines: true });
    if (errors.length > 0) {
      answer(out, 400, errors.map(({ row, message }) => ({ row, message })));
    } else {
      answer(out, 200, data);
    }
  },
};

function read(request) {
  const decoder = new TextDecoder();
  const stream = request.consume().stream();
  let text = '';
  try {
    for (;;) {
      text += decoder.decode(stream.blockingRead(65536n), { stream: true });
    }
  } catch (error) {
    if (error.payload?.tag !== 'closed') {
      throw error;
    }
  }
  return text + decoder.decode();
}

function answer(out, status, value) {
  const bytes = new TextEncoder().encode(JSON.stringify(value, null, 2) + '\n');
  const field = (text) => new TextEncoder().encode(text);
  const response = new OutgoingResponse(
    Fields.fromList([
      ['content-type', field('application/json')],
      ['content-length', field(String(bytes.length))],
    ]),
  );
  response.setStatusCode(status);
  const body = response.body();
  ResponseOutparam.set(out, { tag: 'ok', val: response });
  const stream = body.write();
  for (let at = 0; at < bytes.length; at += PIECE) {
    stream.blockingWriteAndFlush(bytes.subarray(at, at + PIECE));
  }
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, undefined);
}
