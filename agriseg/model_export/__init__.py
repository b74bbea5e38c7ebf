"""Models as files for other runtimes: ONNX, OpenVINO, torch.export. Maps for other programs are in `export`.

Imports `mapping`, `backends`, the model and what lies below them.
"""
