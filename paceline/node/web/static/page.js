// Fetches the changing part again and says so when the node does not answer: old figures that
// look fresh are worse than none.
"use strict";

const PERIOD_MS = 2000;
let last = Date.now();

async function refresh() {
  const age = document.getElementById("age");
  try {
    const response = await fetch("/fragment", { signal: AbortSignal.timeout(5000) });
    if (response.status === 401) {
      location.reload();
      return;
    }
    if (!response.ok) throw new Error(`status ${response.status}`);
    // The node escaped every value; the content security policy forbids scripts in it anyway.
    document.querySelector("main").innerHTML = await response.text();
    last = Date.now();
    age.textContent = "";
  } catch {
    const seconds = Math.round((Date.now() - last) / 1000);
    age.textContent = `This node does not answer; what you see is ${seconds} s old.`;
  }
  setTimeout(refresh, PERIOD_MS);
}

setTimeout(refresh, PERIOD_MS);
