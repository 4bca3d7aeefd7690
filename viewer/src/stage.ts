/** The film itself: a cornerstone3D stack viewport, its window, zoom and position, and the tools of the pointer. */

import {
  cache, Enums, getShouldUseCPURendering, imageLoader, init as initCore, metaData, RenderingEngine,
  type StackViewport, type Types, utilities,
} from "@cornerstonejs/core";
import {
  addTool, annotation, BaseTool, Enums as ToolEnums, init as initTools, LengthTool, MagnifyTool, PanTool,
  ToolGroupManager, type Types as ToolTypes, ZoomTool,
} from "@cornerstonejs/tools";
import vtkDataArray from "@kitware/vtk.js/Common/Core/DataArray.js";
import vtkColorTransferFunction from "@kitware/vtk.js/Rendering/Core/ColorTransferFunction.js";

import type { Film } from "./payload";

/** Modality values shown black and white. "header": the header's own greys, whatever their form. */
export type Greys = [number, number] | "header";
export type Mode = "window" | "pan" | "ruler" | "magnifier" | "brush";

/** Zoom and position of a film on the screen. */
export type Place = Types.ICamera;

const ENGINE = "ptx-engine", VIEWPORT = "ptx-film", GROUP = "ptx-tools", SCHEME = "ptx";
const MOST_ZOOM = 40;
/** Share of the film's range by which a drag of one px changes the window. */
const PER_PX = 1 / 600;
/** Pixels outside the film are this many ranges darker than the film, so that they stay black at any window. */
const FAR = 10;
const WIDEST = 4;

class WindowTool extends BaseTool {
  static override toolName = "PtxWindow";
  constructor(
    props: ToolTypes.PublicToolProps = {},
    defaults: ToolTypes.ToolProps = { supportedInteractionTypes: ["Mouse", "Touch"] },
  ) {
    super(props, defaults);
  }
  mouseDragCallback(event: ToolTypes.EventTypes.InteractionEventType): void {
    const [x, y] = (event as ToolTypes.EventTypes.MouseDragEventType).detail.deltaPoints.canvas;
    (this.configuration as { drag: (x: number, y: number) => void }).drag(x, y);
  }
  touchDragCallback(event: ToolTypes.EventTypes.InteractionEventType): void {
    this.mouseDragCallback(event);
  }
}

/** How much larger the magnifier shows the film than the stage does, and its side as a share of the stage's shorter one. */
const [ENLARGED, GLASS] = [3, 0.45];

/** Cornerstone's magnifier, with this film's greys also where they are no plain window. */
class Magnifier extends MagnifyTool {
  constructor(props: ToolTypes.PublicToolProps = {}, defaults?: ToolTypes.ToolProps) {
    super(props, defaults);
    const create = this._createMagnificationViewport;
    this._createMagnificationViewport = () => {
      // Cornerstone fits the nth part of the stage's height into the glass, whatever the glass's own height is.
      const { clientWidth, clientHeight } = this.editData!.enabledElement.viewport.element;
      const side = Math.round(GLASS * Math.min(clientWidth, clientHeight));
      const magnifySize = (ENLARGED * clientHeight) / side;
      Object.assign(this.configuration, { magnifyWidth: side, magnifyHeight: side, magnifySize });
      create();
      const glass = this.editData!.renderingEngine.getViewport("magnify-viewport") as StackViewport;
      const dress = (this.configuration as { dress: (viewport: StackViewport) => void }).dress;
      glass.element.addEventListener(
        Enums.Events.IMAGE_RENDERED,
        () => {
          dress(glass);
          glass.render();
        },
        { once: true },
      );
    };
  }
}

const TOOLS = { window: WindowTool, pan: PanTool, ruler: LengthTool, magnifier: Magnifier } as const;
type ToolMode = keyof typeof TOOLS;
const nameOf = (mode: ToolMode): string => TOOLS[mode].toolName;

const loading = new Map<string, Film>();
let begun = false;

function begin(): void {
  if (begun) return;
  begun = true;
  initCore({ rendering: { webGlContextCount: 1 } } as never);
  initTools();
  for (const tool of [...Object.values(TOOLS), ZoomTool]) addTool(tool);
  imageLoader.registerImageLoader(SCHEME, (id) => ({ promise: Promise.resolve(imageOf(id)) }) as never);
  metaData.addProvider((type: string, id: string) => {
    const film = loading.get(id);
    return film && metadataOf(film, id)[type];
  }, 10_000);
}

/** Rulers in the page's text size, which follows the reader's and the screen's, and legible on a contour or on bone. */
function styleRulers(): void {
  const text = parseFloat(getComputedStyle(document.documentElement).fontSize);
  annotation.config.style.setToolGroupToolStyles(GROUP, {
    [LengthTool.toolName]: {
      lineWidth: String(text / 9),
      textBoxFontSize: `${text}px`,
      textBoxBackground: "rgba(0, 0, 0, 0.75)",
      textBoxBorderRadius: "3",
      textBoxMargin: "6",
    },
  });
}

export class Stage {
  film: Film | null = null;
  greys: Greys = "header";
  inverse = false;
  private readonly engine: RenderingEngine;
  private readonly viewport: StackViewport;
  private imageId = "";

  /** `drawn` is called after each frame, `changed` when the window was set. */
  constructor(private readonly element: HTMLDivElement, drawn: () => void, private readonly changed: () => void) {
    begin();
    styleRulers();
    this.engine = new RenderingEngine(ENGINE);
    this.engine.enableElement({
      viewportId: VIEWPORT,
      type: Enums.ViewportType.STACK,
      element,
      defaultOptions: { background: [0, 0, 0] },
    });
    this.viewport = this.engine.getViewport(VIEWPORT) as StackViewport;
    element.addEventListener(Enums.Events.IMAGE_RENDERED, drawn);
    ToolGroupManager.destroyToolGroup(GROUP);
    const group = ToolGroupManager.createToolGroup(GROUP)!;
    group.addTool(WindowTool.toolName, { drag: (x: number, y: number) => this.dragWindow(x, y) });
    group.addTool(PanTool.toolName);
    group.addTool(ZoomTool.toolName);
    group.addTool(LengthTool.toolName, { getTextLines: (data: RulerData) => this.lengthOf(data) });
    group.addTool(Magnifier.toolName, { dress: (glass: StackViewport) => this.dress(glass) });
    group.addViewport(VIEWPORT, ENGINE);
    this.use("window");
  }

  /** Give the left button and one finger to a tool; with "brush" to none, as `Brush` listens itself. */
  use(mode: Mode): void {
    const group = ToolGroupManager.getToolGroup(GROUP)!;
    const { Primary, Auxiliary, Secondary } = ToolEnums.MouseBindings;
    for (const other of Object.keys(TOOLS) as ToolMode[]) {
      if (other === "ruler") group.setToolPassive(nameOf(other), { removeAllBindings: true });
      else group.setToolDisabled(nameOf(other));
    }
    const first = [{ mouseButton: Primary }, { numTouchPoints: 1 }];
    const pan = [{ mouseButton: Auxiliary }, { mouseButton: Primary, modifierKey: ToolEnums.KeyboardBindings.Shift }];
    group.setToolActive(PanTool.toolName, { bindings: mode === "pan" ? [...pan, ...first] : pan });
    group.setToolActive(ZoomTool.toolName, { bindings: [{ mouseButton: Secondary }, { numTouchPoints: 2 }] });
    if (mode !== "pan" && mode !== "brush") group.setToolActive(nameOf(mode), { bindings: first });
  }

  /** Show a film: fitted, in its header's greys, or as it was left. Resolves when it is on the screen. */
  async show(film: Film, place?: Place, greys: Greys = "header", inverse = false): Promise<void> {
    const before = this.imageId;
    this.imageId = `${SCHEME}:${film.key}`;
    this.film = film;
    [this.greys, this.inverse] = [greys, inverse];
    loading.set(this.imageId, film);
    await this.viewport.setStack([this.imageId]);
    if (before && before !== this.imageId) {
      cache.removeImageLoadObject(before, { force: true });
      loading.delete(before);
    }
    if (this.film !== film) return;
    this.engine.resize(true, false);
    this.viewport.resetCamera();
    if (place) this.viewport.setCamera(place);
    const onScreen = new Promise((done) =>
      this.element.addEventListener(Enums.Events.IMAGE_RENDERED, done, { once: true }),
    );
    this.setWindow(this.greys, this.inverse);
    await onScreen;
  }

  get place(): Place {
    return this.viewport.getCamera();
  }

  /** Modality values shown black and white. */
  get window(): [number, number] {
    return this.greys === "header" ? this.film!.window : this.greys;
  }

  setWindow(greys: Greys, inverse: boolean): void {
    [this.greys, this.inverse] = [greys, inverse];
    if (!this.film) return;
    this.dress(this.viewport);
    this.viewport.render();
    this.changed();
  }

  private dress(viewport: StackViewport): void {
    const { inverted, linear } = this.film!;
    const [lower, upper] = this.window;
    viewport.setProperties({ voiRange: { lower, upper }, invert: inverted !== this.inverse });
    const actor = viewport.getDefaultActor()?.actor as { getProperty?: () => TransferHolder } | undefined;
    if (getShouldUseCPURendering() || !actor?.getProperty) return;
    const table = this.greys === "header" && !linear;
    actor.getProperty().setRGBTransferFunction(0, table ? this.headerTable() : ramp(lower, upper, inverted !== this.inverse));
  }

  /** The header's greys as a function of the modality value. */
  private headerTable(): object {
    const { shades, slope, intercept, outside, range } = this.film!;
    const nodes: number[] = [];
    const add = (level: number): void => {
      const shade = this.inverse ? 1 - shades[level]! : shades[level]!;
      nodes.push(slope * level + intercept, shade, shade, shade, 0.5, 0);
    };
    const ends = range.map((value) => Math.round((value - intercept) / slope)).sort((a, b) => a - b);
    for (let level = ends[0]!; level <= ends[1]!; level++) if (level !== outside) add(level);
    const table = vtkColorTransferFunction.newInstance();
    table.buildFunctionFromArray(vtkDataArray.newInstance({ values: nodes, numberOfComponents: 6 }));
    return table;
  }

  /** Change the window as a drag of (x, y) CSS px does: right widens, down darkens. */
  dragWindow(x: number, y: number): void {
    if (!this.film) return;
    const { range, inverted } = this.film;
    const [lowest, highest] = range, span = highest - lowest || 1;
    const [lower, upper] = this.window;
    const width = Math.min(Math.max(upper - lower + x * span * PER_PX, span / 1000), WIDEST * span);
    const towards = inverted ? -1 : 1;
    const centre = Math.min(
      Math.max((lower + upper) / 2 + towards * y * span * PER_PX, lowest - span), highest + span,
    );
    this.setWindow([centre - width / 2, centre + width / 2], this.inverse);
  }

  /** Screen px per px of the film. 1 is 1:1. */
  get zoom(): number {
    const [a] = this.toCanvas(0, 0), [b] = this.toCanvas(1, 0);
    return (b - a) * devicePixelRatio;
  }

  /** Zoom, keeping what is at (x, y) px of the canvas in its place; by default its middle. */
  zoomBy(factor: number, x = this.element.clientWidth / 2, y = this.element.clientHeight / 2): void {
    if (!this.film) return;
    const { parallelScale, focalPoint, position } = this.viewport.getCamera();
    const now = this.zoom;
    const least = Math.min(this.fittedZoom() / 2, 1);
    factor = Math.min(Math.max(now * factor, least), MOST_ZOOM) / now;
    const at = this.viewport.canvasToWorld([x, y]);
    const shift = at.map((value, axis) => (value - focalPoint![axis]!) * (1 - 1 / factor));
    this.viewport.setCamera({
      parallelScale: parallelScale! / factor,
      focalPoint: focalPoint!.map((value, axis) => value + shift[axis]!) as Types.Point3,
      position: position!.map((value, axis) => value + shift[axis]!) as Types.Point3,
    });
    this.viewport.render();
  }

  /** Move the film by (x, y) CSS px. */
  moveBy(x: number, y: number): void {
    if (!this.film) return;
    const { focalPoint, position } = this.viewport.getCamera();
    const [from, to] = [this.viewport.canvasToWorld([x, y]), this.viewport.canvasToWorld([0, 0])];
    const moved = (point: Types.Point3): Types.Point3 => point.map((value, axis) => value + to[axis]! - from[axis]!) as Types.Point3;
    this.viewport.setCamera({ focalPoint: moved(focalPoint!), position: moved(position!) });
    this.viewport.render();
  }

  private fittedZoom(): number {
    const { width, height } = this.film!;
    return Math.min(this.element.clientWidth / width, this.element.clientHeight / height) * devicePixelRatio;
  }

  fit(): void {
    if (!this.film) return;
    this.viewport.resetCamera();
    this.viewport.render();
  }

  /** One pixel of the film on one pixel of the screen, around the middle. */
  actualSize(): void {
    if (!this.film) return;
    this.zoomBy(1 / this.zoom);
    // Onto whole pixels of the screen, else each would mix two of the film.
    const [x, y] = this.toCanvas(0, 0).map((at) => Math.round(at * devicePixelRatio) / devicePixelRatio - at);
    this.moveBy(x!, y!);
  }

  resized(): void {
    if (!this.element.clientWidth || !this.element.clientHeight) return;
    styleRulers();
    this.engine.resize(true, true);
  }

  /** CSS px on the canvas of a point on the film; (0, 0) is the upper left corner of its first pixel. */
  toCanvas(x: number, y: number): Types.Point2 {
    return this.viewport.worldToCanvas([x - 0.5, y - 0.5, 0]);
  }

  /** The point of the film, as for `toCanvas`, at a point of the canvas. */
  toFilm(x: number, y: number): [number, number] {
    const world = this.viewport.canvasToWorld([x, y]);
    return [world[0] + 0.5, world[1] + 0.5];
  }

  /** Column, row and modality value under a point of the canvas; no value outside the film; null beside the picture. */
  under(x: number, y: number): { column: number; row: number; value: number | null } | null {
    if (!this.film) return null;
    const { width, height, levels, slope, intercept, outside } = this.film;
    const world = this.viewport.canvasToWorld([x, y]);
    const [column, row] = [Math.floor(world[0] + 0.5), Math.floor(world[1] + 0.5)];
    if (column < 0 || row < 0 || column >= width || row >= height) return null;
    const level = levels[row * width + column]!;
    return { column, row, value: level === outside ? null : slope * level + intercept };
  }

  removeRulers(): void {
    // A copy: each removal shortens the list.
    for (const ruler of [...(annotation.state.getAnnotations(LengthTool.toolName, this.element) ?? [])])
      annotation.state.removeAnnotation(ruler.annotationUID!);
    this.viewport.render();
  }

  private lengthOf(data: RulerData): string[] {
    const { spacing, calibrated, doubtful } = this.film!;
    const [a, b] = data.handles.points as [Types.Point3, Types.Point3];
    const [across, down] = [b[0] - a[0], b[1] - a[1]];
    if (!spacing) {
      const why = doubtful ? "pixel spacing not plausible" : "no pixel spacing in the file";
      return [`${Math.hypot(across, down).toFixed(0)} px`, why];
    }
    const length = Math.hypot(across * spacing[1], down * spacing[0]);
    return [`${length.toFixed(1)} mm${calibrated ? "" : " at the detector"}`];
  }

  release(): void {
    ToolGroupManager.destroyToolGroup(GROUP);
    this.engine.destroy();
    cache.purgeCache();
    loading.clear();
  }
}

interface RulerData {
  handles: { points: Types.Point3[] };
}

interface TransferHolder {
  setRGBTransferFunction(index: number, table: object): void;
}

function ramp(lower: number, upper: number, inverted: boolean): object {
  const table = vtkColorTransferFunction.newInstance();
  const [first, last] = inverted ? [1, 0] : [0, 1];
  table.addRGBPoint(lower, first!, first!, first!);
  table.addRGBPoint(upper, last!, last!, last!);
  return table;
}

function imageOf(id: string): object {
  const { width, height, levels, slope, intercept, outside, range, inverted, window } = loading.get(id)!;
  const values = new Float32Array(65536);
  for (let level = 0; level < values.length; level++) values[level] = slope * level + intercept;
  const far = FAR * (range[1] - range[0] || 1);
  if (outside !== null) values[outside] = inverted ? range[1] + far : range[0] - far;
  const pixels = new Float32Array(levels.length);
  for (let at = 0; at < pixels.length; at++) pixels[at] = values[levels[at]!]!;
  return {
    imageId: id, width, height, rows: height, columns: width, color: false, rgba: false, numberOfComponents: 1,
    slope: 1, intercept: 0, minPixelValue: range[0], maxPixelValue: range[1], columnPixelSpacing: 1, rowPixelSpacing: 1,
    windowCenter: (window[0] + window[1]) / 2, windowWidth: window[1] - window[0], voiLUTFunction: "LINEAR",
    invert: false, dataType: "Float32Array", sizeInBytes: pixels.byteLength, getPixelData: () => pixels,
    voxelManager: utilities.VoxelManager.createImageVoxelManager({
      width, height, numberOfComponents: 1, scalarData: pixels,
    }),
  };
}

/** World coordinates are px of the film, so that rulers and outlines need no spacing. */
function metadataOf({ width, height, window }: Film, id: string): Record<string, unknown> {
  return {
    imagePlaneModule: {
      rows: height, columns: width, rowPixelSpacing: 1, columnPixelSpacing: 1, pixelSpacing: [1, 1],
      rowCosines: [1, 0, 0], columnCosines: [0, 1, 0], imageOrientationPatient: [1, 0, 0, 0, 1, 0],
      imagePositionPatient: [0, 0, 0], frameOfReferenceUID: id,
    },
    imagePixelModule: {
      bitsAllocated: 32, bitsStored: 32, highBit: 31, samplesPerPixel: 1, pixelRepresentation: 0,
      photometricInterpretation: "MONOCHROME2",
    },
    generalSeriesModule: { modality: "CR" },
    voiLutModule: { windowCenter: [(window[0] + window[1]) / 2], windowWidth: [window[1] - window[0]] },
    modalityLutModule: { rescaleSlope: 1, rescaleIntercept: 0 },
  };
}
