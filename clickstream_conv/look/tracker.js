// Sends the events of a visit to clickstream-conv serve, in their order, each counted once.
//
//   import { Tracker } from "./tracker.js";
//   const tracker = new Tracker({ url: "/v1/visits", onAnswer: show });
//   tracker.send({ event: "view", page: "product", item_id: "P0069", price: 55.6 });
//
// A key in a page can be read by whoever opens it. Let the page send to the shop's own server, and let that
// one add the key.

const WAITS = [500, 1000, 2000, 4000, 8000]; // milliseconds before an event is sent again

export class Tracker {
  constructor({ url = "/v1/visits", ask = "", headers = {}, onAnswer = () => {}, onProblem = console.warn } = {}) {
    Object.assign(this, { url, ask, headers, onAnswer, onProblem });
    this.line = Promise.resolve();
    this.last = Number(sessionStorage.getItem("clickstream-conv-last") || 0);
    this.visit = sessionStorage.getItem("clickstream-conv-visit") || this.begin();
  }

  // A new visit, such as after a long silence.
  begin() {
    this.visit = crypto.randomUUID();
    sessionStorage.setItem("clickstream-conv-visit", this.visit);
    return this.visit;
  }

  // An event, with its moment and an id under which it counts once. Resolves to the answer, or to nothing.
  send(event) {
    this.last = Math.max(this.last + 1, Date.now() * 1000); // microseconds; no two events at one moment
    sessionStorage.setItem("clickstream-conv-last", this.last);
    const whole = { t: this.last, event_id: crypto.randomUUID(), ...event };
    this.line = this.line.then(() => this.deliver(whole));
    return this.line;
  }

  async deliver(event) {
    for (const wait of [...WAITS, null]) {
      const answer = await this.post(event);
      if (answer?.status === 409 && (await answer.clone().json()).reason === "ended") {
        this.begin(); // the silence was longer than a visit lasts
        continue;
      }
      if (answer?.ok) {
        const said = await answer.json();
        this.onAnswer(said, event);
        return said;
      }
      if (answer && answer.status !== 503 && answer.status !== 429) {
        this.onProblem(await answer.json(), event);
        return undefined;
      }
      if (wait !== null) await new Promise((done) => setTimeout(done, wait));
    }
    this.onProblem({ title: "The event was not delivered", detail: "the service could not be reached" }, event);
    return undefined;
  }

  async post(event) {
    const address = `${this.url}/${encodeURIComponent(this.visit)}/events${this.ask}`;
    const headers = { "content-type": "application/json", ...this.headers };
    try {
      return await fetch(address, { method: "POST", headers, body: JSON.stringify(event), keepalive: true });
    } catch {
      return null; // nobody was there
    }
  }
}
