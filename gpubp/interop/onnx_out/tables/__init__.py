"""The preparation of a table in an ONNX graph: raw values of a row become the numbers that a network takes."""
