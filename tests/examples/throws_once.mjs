// Loaded before the Node.js example: its 500th line fails, once, as a subscriber's own work may.
const log = console.log;
let lines = 0;
console.log = (line) => {
  lines += 1;
  if (lines === 500) throw new Error('the 500th line');
  log(line);
};
