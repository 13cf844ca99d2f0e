"""Where the article says what: its sections, in English and in the article's own words."""

from lora_ref.ledger.claim import Section

SETUP = Section(1, "1", "The original matrix", "基础设定:构造一个高维原始矩阵")
APPROXIMATION = Section(
    1, "2", "A low-rank decomposition with r = 2", "低秩分解:用 r = 2 近似原始矩阵"
)
FACTORS = Section(1, "2.1", "The low-rank factors at the start", "初始化低秩矩阵")
PRODUCT = Section(1, "2.3", "Computing the low-rank update", "计算低秩更新量")
MERGED = Section(1, "2.4", "The merged weight", "构造低秩近似矩阵")
EFFICIENCY = Section(1, "3", "Parameter efficiency", "参数效率对比")
GEOMETRY = Section(1, "4", "Geometric meaning", "低秩近似的几何意义")
FILTER = Section(1, "5", "The update as a filter", "低秩分解的“信息过滤”作用")
PALETTE = Section(1, "6", "The update as a palette", "用“调色盘”理解低秩近似")
ERROR = Section(1, "7", "Error analysis", "误差分析")
ESSENCE = Section(2, "0", "Introduction to part two", "LoRA(Low-Rank Adaptation)的本质")
DECOMPOSITION = Section(2, "2", "The low-rank decomposition", "低秩矩阵分解")
COMBINATION = Section(2, "3", "Combining the weights", "权重组合")
SCALING = Section(2, "4", "The scaling factor", "缩放因子")
ALGEBRA = Section(2, "5", "In terms of linear algebra", "从线性代数视角理解")
START = Section(2, "6", "Initialisation", "初始化策略的数学意义")
TASKS = Section(2, "7", "Several tasks", "多任务扩展公式")
COMPARISON = Section(2, "8", "LoRA and traditional fine-tuning", "公式对比:LoRA vs 传统微调")
