// SPDX-License-Identifier: GPL-3.0-or-later
// Draws triangles with WebGL, nothing else needed: binary STL in, turned by pointer, wheel and keys.
const VERTEX = `attribute vec3 place; attribute vec3 normal; uniform mat3 turn; uniform vec3 middle; uniform float size; uniform float ratio;
varying vec3 facing; void main() { vec3 p = turn * (place - middle) * size; facing = turn * normal; gl_Position = vec4(p.x / ratio, p.y, -p.z * 0.3, 1.0); }`;
const FRAGMENT = `precision mediump float; varying vec3 facing; uniform vec3 color;
void main() { vec3 n = normalize(facing); if (n.z < 0.0) n = -n; float light = 0.3 + 0.7 * max(dot(n, normalize(vec3(-0.4, 0.55, 0.73))), 0.0);
gl_FragColor = vec4(color * light, 1.0); }`;
// Degrees about the upright axis, then towards the eye
const VIEWS = { iso: [-45, 30], front: [0, 0], right: [-90, 0], top: [0, 90] };

export class Viewer {
  static on(canvas) {
    if (!canvas.viewer) {
      const gl = canvas.getContext("webgl", { antialias: true });
      canvas.viewer = gl ? new Viewer(canvas, gl) : null;
    }
    return canvas.viewer;
  }

  constructor(canvas, gl) {
    this.canvas = canvas;
    this.gl = gl;
    this.count = 0;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    this.place = gl.getAttribLocation(program, "place");
    this.normal = gl.getAttribLocation(program, "normal");
    this.uniform = (name) => gl.getUniformLocation(program, name);
    this.buffers = [gl.createBuffer(), gl.createBuffer()];
    this.listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(data) {
    const count = new DataView(data).getUint32(80, true), raw = new DataView(data, 84);
    const places = new Float32Array(count * 9), normals = new Float32Array(count * 9);
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < count; i++) {
      for (let k = 0; k < 9; k++) {
        const value = raw.getFloat32(i * 50 + 12 + 4 * k, true);
        places[i * 9 + k] = value;
        if (value < low[k % 3]) low[k % 3] = value;
        if (value > high[k % 3]) high[k % 3] = value;
      }
      const p = places.subarray(i * 9, i * 9 + 9);
      const u = [p[3] - p[0], p[4] - p[1], p[5] - p[2]], v = [p[6] - p[0], p[7] - p[1], p[8] - p[2]];
      const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      const length = Math.hypot(...n) || 1;
      for (let k = 0; k < 9; k++) normals[i * 9 + k] = n[k % 3] / length;
    }
    const gl = this.gl;
    [[places, this.place], [normals, this.normal]].forEach(([values, at], k) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[k]);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, 3, gl.FLOAT, false, 0, 0);
    });
    this.count = count * 3;
    this.middle = low.map((value, k) => (value + high[k]) / 2);
    this.size = 1.8 / (Math.hypot(...high.map((value, k) => value - low[k])) || 1);
    this.view("iso");
  }

  view(name) {
    [this.around, this.over] = VIEWS[name];
    this.near = 1;
    this.draw();
  }

  turned(around, over) {
    this.around += around;
    this.over = Math.max(-90, Math.min(90, this.over + over));
    this.draw();
  }

  closer(factor) {
    this.near = Math.max(0.2, Math.min(20, this.near * factor));
    this.draw();
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) this.turned(event.movementX / 2, event.movementY / 2); });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.closer(event.deltaY < 0 ? 1.1 : 1 / 1.1); }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
      if (turns) this.turned(...turns);
      else if (event.key === "+" || event.key === "=") this.closer(1.2);
      else if (event.key === "-") this.closer(1 / 1.2);
      else return;
      event.preventDefault();
    });
  }

  draw() {
    const { gl, canvas } = this, scale = Math.min(devicePixelRatio, 2);
    if (!this.count || !canvas.clientWidth) return;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    gl.viewport(0, 0, canvas.width, canvas.height);
    const style = getComputedStyle(canvas.parentElement).backgroundColor.match(/\d+/g).map(Number);
    gl.clearColor(style[0] / 255, style[1] / 255, style[2] / 255, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const a = this.around * Math.PI / 180, o = this.over * Math.PI / 180;
    const [ca, sa, co, so] = [Math.cos(a), Math.sin(a), Math.cos(o), Math.sin(o)];
    // Z up: about z by a, then the eye rises by o. By columns, x to the right, y up, z to the eye
    gl.uniformMatrix3fv(this.uniform("turn"), false, [ca, so * sa, -co * sa, -sa, so * ca, -co * ca, 0, co, so]);
    gl.uniform3fv(this.uniform("middle"), this.middle);
    gl.uniform1f(this.uniform("size"), this.size * this.near);
    gl.uniform1f(this.uniform("ratio"), canvas.width / canvas.height);
    gl.uniform3fv(this.uniform("color"), [0.62, 0.68, 0.76]);
    gl.drawArrays(gl.TRIANGLES, 0, this.count);
  }
}
