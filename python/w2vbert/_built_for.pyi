PYTHON: str
TORCH: str
CXX11_ABI: bool
VERSION: str
