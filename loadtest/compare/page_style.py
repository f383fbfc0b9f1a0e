"""The page's looks, and the few lines that draw its figures."""

STYLE = """
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff}
main{max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid #ddd}
.verdict{font-size:1.2rem;padding:.8rem 1rem;border-left:.3rem solid #0072b2;background:#f3f7fa}
.caution{padding:.6rem 1rem;border-left:.3rem solid #d55e00;background:#fdf4ee}
.note,figcaption{color:#555;font-size:.9rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem .25rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #eee}
tbody th{font-weight:normal}thead th{font-weight:600}code{font-size:.75rem;word-break:break-all}
figure{margin:1rem 0}.plot{width:100%;min-height:320px}
@media print{main{max-width:none;padding:0}figure,tr,.verdict{break-inside:avoid}h2{break-after:avoid}
.wide{overflow:visible}body{font-size:11px}}
"""

SCRIPT = """
const read = id => JSON.parse(document.getElementById(id).textContent);
for (const [name, figure] of Object.entries(read("figures"))) {
  const plot = document.getElementById("plot-" + name);
  if (plot) Plotly.newPlot(plot, figure.data, figure.layout, {responsive: true, displayModeBar: false});
}
const fit = () => document.querySelectorAll(".plot").forEach(plot => Plotly.Plots.resize(plot));
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach(part => { part.open = true; });
  fit();
});
addEventListener("afterprint", fit);
"""
