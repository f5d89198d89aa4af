declare module "*.onnx" {
  const bytes: Uint8Array;
  export default bytes;
}
